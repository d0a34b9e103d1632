//! The figures' place in a document of which people write the rest.

use std::{fs, path::Path};

use crate::error::BenchError;

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// Puts figures between the two markers of a document.
pub(crate) fn rewrite(path: &Path, figures: &str) -> Result<(), BenchError> {
    let text = fs::read_to_string(path).map_err(BenchError::file(path))?;
    let missing = || BenchError::Markers(path.display().to_string(), BEGIN, END);
    let text = replaced(&text, figures).ok_or_else(missing)?;
    fs::write(path, text).map_err(BenchError::file(path))
}

/// `None` where the markers are missing.
fn replaced(text: &str, figures: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_old, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nprose\n");
        let once = replaced(&text, "new\n").unwrap();
        assert_eq!(once, format!("# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nprose\n"));
        assert_eq!(replaced(&once, "new").unwrap(), once);
    }

    #[test]
    fn a_document_without_markers_is_left_alone() {
        assert_eq!(replaced("# Title\n", "new"), None);
        assert_eq!(replaced(&format!("{END} {BEGIN}"), "new"), None);
    }
}
