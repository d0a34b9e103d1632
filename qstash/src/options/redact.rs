//! `Upstash-Redact-Fields`: what the API shows as digests only. Deliveries have it whole.

use surehook::{digest::Sha256, qstash::lenient::REDACTED};

/// What is not shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Redacted {
    pub(crate) body: bool,
    pub(crate) all_headers: bool,
    /// These headers, in lower case.
    pub(crate) headers: Vec<String>,
}

impl Redacted {
    /// Reads `body`, `header` or `headers`, `header[Name]` or `headers[Name]`, separated by commas.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut redacted = Self::default();
        for field in text.split(',').map(str::trim) {
            let rest = field.strip_prefix("headers[").or_else(|| field.strip_prefix("header["));
            let named = rest.and_then(|rest| rest.strip_suffix(']')).map(str::trim);
            match (field, named.filter(|name| !name.is_empty())) {
                ("body", _) => redacted.body = true,
                ("header" | "headers", _) => redacted.all_headers = true,
                (_, Some(name)) => redacted.headers.push(name.to_ascii_lowercase()),
                _ => return Err(format!("\"{field}\" is not body, header or header[<name>]")),
            }
        }
        Ok(redacted)
    }

    /// Whether all is shown.
    pub(crate) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What is shown of a header.
    pub(crate) fn header(&self, name: &str, value: &str) -> String {
        let hides = self.all_headers || self.headers.iter().any(|hidden| hidden == name);
        if hides { digest_of(value.as_bytes()) } else { value.to_owned() }
    }
}

/// What stands for something redacted.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    format!("{REDACTED}{}", Sha256::of(bytes).hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_both_spellings_are_read() {
        for all in ["header", "headers", "body, headers"] {
            assert!(Redacted::read(all).unwrap().header("x", "secret").starts_with(REDACTED), "{all}");
        }
        let one = Redacted::read("header[X-Key]").unwrap();
        assert_eq!((one.header("x-key", "s").len(), one.header("y", "s").as_str()), (REDACTED.len() + 64, "s"));
        for same in ["header[ X-Key ]", "headers[X-Key]", "headers[x-key]"] {
            assert_eq!(Redacted::read(same).as_ref(), Ok(&one), "{same}");
        }
        assert!(Redacted::read("bodies").is_err() && Redacted::read("header[]").is_err());
    }
}
