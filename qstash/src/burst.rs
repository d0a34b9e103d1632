//! The burst limit of management calls: so many in each second, for each user.
//!
//! Publishing, enqueueing and batches have none (documented). The size is not published, so that there is no limit unless it is asked
//! for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use surehook::Millis;

/// The calls of each user in the second that runs.
#[derive(Debug)]
pub(crate) struct Bursts {
    limit: Option<u32>,
    seconds: Mutex<BTreeMap<usize, (i64, u32)>>,
}

/// A call beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Calls in a second.
    pub(crate) limit: u32,
    /// The second at which the limit begins anew, since 1970.
    pub(crate) reset: i64,
}

impl Bursts {
    pub(crate) fn new(limit: Option<u32>) -> Self {
        Self { limit, seconds: Mutex::default() }
    }

    /// Counts a call of a user, unless it is beyond the limit or has none.
    pub(crate) fn take(&self, user: usize, path: &str, now: Millis) -> Result<(), TooMany> {
        let Some(limit) = self.limit.filter(|_| is_limited(path)) else { return Ok(()) };
        let second = now.div_euclid(1_000);
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, count) = seconds.entry(user).or_insert((second, 0));
        if *known != second {
            (*known, *count) = (second, 0);
        }
        if *count >= limit {
            return Err(TooMany { limit, reset: second + 1 });
        }
        *count += 1;
        Ok(())
    }
}

/// Returns whether a path is that of the call for batches. SDKs may end it with a slash.
pub(crate) fn is_batch(path: &str) -> bool {
    path.trim_end_matches('/') == "/v2/batch"
}

fn is_limited(path: &str) -> bool {
    let unlimited = ["/v1/publish/", "/v2/publish/", "/v2/enqueue/"];
    !is_batch(path) && !unlimited.iter().any(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_so_many_management_calls_in_a_second() {
        let bursts = Bursts::new(Some(2));
        let take = |user, now| bursts.take(user, "/v2/dlq", now);
        assert_eq!([take(0, 1_000), take(0, 1_999), take(1, 1_999)], [Ok(()); 3]);
        assert_eq!(take(0, 1_999), Err(TooMany { limit: 2, reset: 2 }));
        assert_eq!(take(0, 2_000), Ok(()));
    }

    #[test]
    fn publishing_has_no_limit_and_nothing_has_one_unless_asked_for() {
        let none = Bursts::new(Some(0));
        for path in ["/v2/publish/t", "/v1/publish/t", "/v2/enqueue/q/t", "/v2/batch", "/v2/batch/"] {
            assert_eq!(none.take(0, path, 0), Ok(()), "{path}");
        }
        assert!(none.take(0, "/v2/topics/t", 0).is_err());
        assert_eq!(Bursts::new(None).take(0, "/v2/dlq", 0), Ok(()));
    }
}
