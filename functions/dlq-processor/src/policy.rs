//! The stack's policy: the deployed processor states it, the command line follows it.

use surehook::{
    config::{Contradiction, Policy, qstash::REGION},
    store::policy::StackPolicy,
    web::Moment,
};

use crate::{Command, Processor, ProcessorError};

/// The part of a processor in the stack's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyRole {
    /// The deployed function: its settings are the stack's.
    States,
    /// An operator's shell.
    Follows {
        /// What the stack states; `None` where no sweep has written it yet, so that the shell's own settings count.
        stack: Option<StackPolicy>,
        /// The shell's variables that differ from it.
        contradictions: Vec<Contradiction>,
    },
}

impl Processor {
    /// Writes the stack's policy where it differs from the one in the table. It is read once per sweep.
    pub(crate) async fn state_policy(&self, moment: Moment) -> Result<(), ProcessorError> {
        if self.role != PolicyRole::States {
            return Ok(());
        }
        let written = self.path.store.policy().await;
        // A policy that can't be read is replaced.
        if written.is_ok_and(|written| written.is_some_and(|written| written.policy == self.policy)) {
            return Ok(());
        }
        Ok(self.path.store.put_policy(&self.policy, moment.at_present()).await?)
    }

    /// Refuses commands that end or retry events while this shell's settings contradict the stack's.
    pub(crate) fn check_policy(&self, command: &Command) -> Result<(), ProcessorError> {
        match &self.role {
            PolicyRole::Follows { contradictions, .. } => {
                let contradictions: Vec<_> =
                    contradictions.iter().filter(|contradiction| concerns(contradiction.name, command)).collect();
                let refused = || ProcessorError::Contradiction(listed(&contradictions));
                if contradictions.is_empty() { Ok(()) } else { Err(refused()) }
            }
            PolicyRole::States => Ok(()),
        }
    }
}

/// Returns whether a command ends or retries events by a setting. A replay goes to an account of QStash, and follows no other setting.
fn concerns(setting: &str, command: &Command) -> bool {
    match command {
        Command::Sweep | Command::Dismiss { .. } => true,
        Command::Replay { dry_run, .. } => setting == REGION && !dry_run,
        _ => false,
    }
}

fn listed(contradictions: &[&Contradiction]) -> String {
    contradictions.iter().map(|contradiction| format!("\n  {contradiction}")).collect()
}

impl PolicyRole {
    /// Returns the policy that a shell's processor works by, from what the stack states or else from its own settings.
    pub(crate) fn policy_or(&self, own: Policy) -> Policy {
        match self {
            Self::Follows { stack: Some(stack), .. } => stack.policy.clone(),
            _ => own,
        }
    }
}
