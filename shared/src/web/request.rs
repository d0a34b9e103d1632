//! A request as the function URL hands it over (payload format 2.0), before anything is believed.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;

use super::endpoint_url::EndpointUrl;
use crate::{
    Millis,
    qstash::{Refusal, Region, SigningKeys, Verified, region::REGION_HEADER, token},
};

/// The parts of a request that we use.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The HTTP method, in upper case.
    pub method: String,
    /// `rawPath`, exactly as received.
    pub path: String,
    /// `rawQueryString`, exactly as received, empty if there is none.
    pub query: String,
    /// `requestContext.domainName`: Lambda sets it, unlike the `Host` header, which the caller sets.
    pub domain: Option<String>,
    /// Headers, which no signature covers.
    pub headers: HeaderMap,
    /// The body's bytes; an absent body is empty.
    pub body: Bytes,
    /// Lambda's request id: the owner of whatever lease this invocation takes.
    pub request_id: String,
}

/// The header of a replayed message that names the version of the routes at its replay.
pub const ROUTES_HEADER: &str = "Surehook-Routes";

/// Returns the version of the routes that an event must be handled by, or a newer one: 0 for all but replayed events. No signature covers
/// it. A forged one costs a read.
pub fn least_routes(headers: &HeaderMap) -> u64 {
    let version = headers.get(ROUTES_HEADER).and_then(|value| value.to_str().ok());
    version.and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// A body that says it is base64 and is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request says that its body is base64, but it is not")]
pub struct UndecodableBody;

impl Incoming {
    /// Takes a function-URL event apart.
    pub fn from_event(event: ApiGatewayV2httpRequest, request_id: String) -> Result<Self, UndecodableBody> {
        Ok(Self {
            method: event.request_context.http.method.as_str().to_owned(),
            path: event.raw_path.unwrap_or_default(),
            query: event.raw_query_string.unwrap_or_default(),
            domain: event.request_context.domain_name,
            headers: event.headers,
            body: decode_body(event.body, event.is_base64_encoded)?,
            request_id,
        })
    }

    /// A header as text; several are one, joined by a comma, which is how Lambda gives them.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How often QStash has retried this message: 0 the first time. No signature covers it.
    pub fn retried(&self) -> u32 {
        self.header("upstash-retried").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Returns the least version of the routes that this request may be handled by.
    pub fn least_routes(&self) -> u64 {
        least_routes(&self.headers)
    }

    /// Our public bases: those that are configured, and the domain that Lambda names, at which the function answers
    /// whatever is configured: a message that was published before a new domain must still arrive.
    pub fn bases(&self, configured: &[EndpointUrl]) -> Vec<EndpointUrl> {
        let domain = self.domain.as_deref().and_then(|domain| EndpointUrl::parse(&format!("https://{domain}")).ok());
        configured.iter().cloned().chain(domain).collect()
    }

    /// The URLs that this request may have been sent to, one below each base.
    pub fn urls(&self, bases: &[EndpointUrl]) -> Vec<EndpointUrl> {
        bases.iter().map(|base| base.below(&self.path, &self.query)).collect()
    }

    /// Verifies that QStash signed this body for the URL that it came to.
    pub fn verify(&self, keys: &SigningKeys, configured: &[EndpointUrl], now: Millis) -> Result<Verified, Refusal> {
        let allowed = self.urls(&self.bases(configured));
        let (hint, signature) = (self.header(REGION_HEADER).and_then(Region::parse), self.header("upstash-signature"));
        token::verify_hinted(keys, hint, signature, &allowed, self.body.clone(), now / 1_000)
    }
}

fn decode_body(body: Option<String>, is_base64: bool) -> Result<Bytes, UndecodableBody> {
    match body {
        None => Ok(Bytes::new()),
        Some(text) if is_base64 => STANDARD.decode(text).map(Bytes::from).map_err(|_bad| UndecodableBody),
        Some(text) => Ok(Bytes::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_came_to_a_configured_base_or_to_the_domain_that_lambda_names() {
        let request = Incoming {
            method: "POST".into(),
            path: "/strapi".into(),
            query: "x=1".into(),
            domain: Some("id.lambda-url.eu-central-1.on.aws".into()),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            request_id: "r".into(),
        };
        let configured = [EndpointUrl::parse("https://hooks.example/in").unwrap()];
        let urls: Vec<String> = request.urls(&request.bases(&configured)).iter().map(ToString::to_string).collect();
        assert_eq!(
            urls,
            ["https://hooks.example/in/strapi?x=1", "https://id.lambda-url.eu-central-1.on.aws/strapi?x=1"]
        );
    }

    #[test]
    fn bodies_arrive_as_bytes() {
        assert_eq!(decode_body(None, true).unwrap(), Bytes::new());
        assert_eq!(decode_body(Some("{}".into()), false).unwrap(), Bytes::from("{}"));
        assert_eq!(decode_body(Some("/wA=".into()), true).unwrap(), Bytes::from_static(&[0xff, 0]));
        assert_eq!(decode_body(Some("!!".into()), true).unwrap_err(), UndecodableBody);
    }
}
