//! Faults that no event of the ledger shows: senders that are rejected, and mistakes of the configuration.

use surehook::{Millis, qstash::DlqEntry};

use crate::{Processor, ProcessorError, reply::Sweep};

impl Processor {
    /// Counts and names the sources of which the producer rejected at least half of the plausible requests.
    pub(crate) async fn report_rejecting(&self, now: Millis, report: &mut Sweep) -> Result<(), ProcessorError> {
        for (source, counts) in self.path.store.rejected(now).await? {
            if counts.is_rejecting() {
                report.rejecting_sources += 1;
                report.leave(format!(
                    "source {source}: {} of {} requests of the last hour were rejected, although they look like the sender's own",
                    counts.rejected,
                    counts.rejected + counts.accepted
                ));
            }
        }
        Ok(())
    }
}

/// Returns whether our own consumer answered as to a stranger. Only QStash can make such an entry, so that keys, URLs or routes of this
/// stack are wrong.
pub(crate) fn is_misconfigured(entry: &DlqEntry) -> bool {
    matches!(entry.status(), 401 | 403 | 404)
}
