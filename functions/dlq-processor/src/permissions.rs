//! Whether this function's role grants the transactions of replays and purges.

use surehook::causes::with_causes;

use crate::{Processor, ProcessorError, reply::Permissions};

impl Processor {
    /// Attempts a transaction that writes nothing. A denial is an answer and no error, because an error would ring an alarm.
    pub(crate) async fn permissions(&self) -> Result<Permissions, ProcessorError> {
        match self.path.store.prove_transactions().await {
            Ok(()) => Ok(Permissions { denied: None }),
            Err(error) if error.is_denied() => Ok(Permissions { denied: Some(with_causes(&error)) }),
            Err(error) => Err(error.into()),
        }
    }
}
