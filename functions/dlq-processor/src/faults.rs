//! Faults that no event of the ledger shows: senders that are rejected, and mistakes of the configuration.

use surehook::Millis;

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
