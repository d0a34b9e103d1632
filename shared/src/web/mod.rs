//! Requests in, answers out.
//!
//! [`request`] takes a function-URL event apart without trusting anything in it, [`endpoint_url`] compares URLs the way a
//! signature needs, [`answer`] is the only place that names an HTTP status, [`serve`] connects them to Lambda's runtime,
//! [`shown_headers`] decides which header values are printed.

pub mod answer;
mod detail;
pub mod endpoint_url;
pub mod request;
pub mod serve;
pub mod shown_headers;
mod this_machine;

pub use answer::{Answer, Outcome, Part};
pub use endpoint_url::EndpointUrl;
pub use request::{Incoming, ROUTES_HEADER, least_routes};
pub use serve::Moment;
pub use this_machine::{CONTAINER_HOSTS, is_safe_for_secrets, is_this_machine};
