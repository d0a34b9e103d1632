//! The page at `/`: files that are part of the program.

use axum::body::Body;
use http::{Response, header};

/// Nothing comes from elsewhere, nothing in a payload can run, and nobody can frame the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// The page's files by path.
const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../page/index.html")),
    ("/_surehook/page/style.css", CSS, include_str!("../page/style.css")),
    ("/_surehook/page/app.js", JS, include_str!("../page/app.js")),
    ("/_surehook/page/api.js", JS, include_str!("../page/api.js")),
    ("/_surehook/page/route.js", JS, include_str!("../page/route.js")),
    ("/_surehook/page/states.js", JS, include_str!("../page/states.js")),
    ("/_surehook/page/feed.js", JS, include_str!("../page/feed.js")),
    ("/_surehook/page/list.js", JS, include_str!("../page/list.js")),
    ("/_surehook/page/detail.js", JS, include_str!("../page/detail.js")),
    ("/_surehook/page/timeline.js", JS, include_str!("../page/timeline.js")),
    ("/_surehook/page/body.js", JS, include_str!("../page/body.js")),
    ("/_surehook/page/actions.js", JS, include_str!("../page/actions.js")),
    ("/_surehook/page/places.js", JS, include_str!("../page/places.js")),
    ("/_surehook/page/header.js", JS, include_str!("../page/header.js")),
    ("/_surehook/page/text.js", JS, include_str!("../page/text.js")),
    ("/_surehook/page/time.js", JS, include_str!("../page/time.js")),
];

/// The file of a path.
pub(crate) fn file(path: &str) -> Option<Response<Body>> {
    let (_, kind, text) = FILES.iter().find(|(known, ..)| *known == path)?;
    let response = Response::builder()
        .header(header::CONTENT_TYPE, *kind)
        .header(header::CONTENT_SECURITY_POLICY, POLICY)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(header::CACHE_CONTROL, "no-store");
    response.body(Body::from(*text)).ok()
}
