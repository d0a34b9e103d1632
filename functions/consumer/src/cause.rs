//! Where an error began.

use std::error::Error;

/// The innermost error says what happened; the outer ones say what was being done, and may repeat what has no place in a record.
pub(crate) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}
