//! Asking the DLQ processor: in this process, or as a Lambda function.

use std::time::Duration;

use aws_config::{BehaviorVersion, stalled_stream_protection::StalledStreamProtectionConfig};
use aws_sdk_lambda::primitives::Blob;
use serde::Deserialize;

use surehook::{
    Millis,
    config::{Variables, qstash::REGION},
    outside,
    web::Moment,
};
use surehook_dlq_processor::{Command, PolicyRole, Processor, Reply, connect};
use tokio::time::Instant;

use super::OperatorArguments;
use crate::{
    Failure,
    text::{date, harmless, span},
};

/// Whoever carries commands out.
pub(crate) enum Asker {
    Here(Box<Processor>),
    Function { client: aws_sdk_lambda::Client, name: String },
}

/// What Lambda answers where a function fails.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionError {
    error_message: String,
}

impl Asker {
    pub(crate) async fn new(arguments: &OperatorArguments) -> Result<Self, Failure> {
        let Some(name) = arguments.function.clone() else {
            let here = connect(&Variables::of_environment().await).await.map_err(|error| {
                let error = crate::text::with_causes(error.as_ref());
                format!("{error}\nSet what `surehook` needs (README, \"Deploy\", step 3), read it with --env-file FILE, or name the function: --function NAME")
            })?;
            tell_policy(&here);
            return Ok(Self::Here(Box::new(here)));
        };
        // A function may work for minutes before the first byte of its answer.
        let patient = StalledStreamProtectionConfig::disabled();
        let settings = aws_config::defaults(BehaviorVersion::latest()).stalled_stream_protection(patient).load().await;
        Ok(Self::Function { client: aws_sdk_lambda::Client::new(&settings), name })
    }

    pub(crate) async fn ask(&self, command: Command) -> Result<Reply, Failure> {
        match self {
            Self::Here(processor) => {
                let moment = Moment { now: outside::now(), started: Instant::now(), deadline: None };
                Ok(processor.call(command, moment, outside::draw()).await?)
            }
            Self::Function { client, name } => invoke(client, name, &command).await,
        }
    }
}

/// Says by which policy this shell works, on standard error, because standard output is the answer's.
fn tell_policy(processor: &Processor) {
    let PolicyRole::Follows { stack, contradictions } = &processor.role else { return };
    let span = |ms: Millis| span(Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
    let policy = &processor.policy;
    let (horizon, retention) = (span(policy.horizon), span(policy.retention));
    let effect = format!("{} rounds, stranded after {horizon}, records kept {retention}", policy.rounds);
    let stack_name = harmless(&processor.stack);
    match stack {
        Some(stack) => eprintln!("policy of stack {stack_name}, written {}: {effect}", date(stack.at)),
        None => eprintln!("policy of this shell, because no sweep of the stack has written one yet: {effect}"),
    }
    for contradiction in contradictions {
        // The accounts of QStash are the shell's own, whatever the stack has.
        let word = if contradiction.name == REGION { "another account of QStash" } else { "ignored" };
        eprintln!("{word}: {}", harmless(&contradiction.to_string()));
    }
}

async fn invoke(client: &aws_sdk_lambda::Client, name: &str, command: &Command) -> Result<Reply, Failure> {
    let payload = Blob::new(serde_json::to_vec(command)?);
    let invoked = client.invoke().function_name(name).payload(payload).send().await;
    let answer =
        invoked.map_err(|error| format!("function {name} can't be invoked: {}", surehook::aws::explained(&error)))?;
    let payload = answer.payload().map(|blob| blob.as_ref()).unwrap_or_default();
    if answer.function_error().is_some() {
        let said = serde_json::from_slice(payload).map(|error: FunctionError| error.error_message);
        let said = said.unwrap_or_else(|_| String::from_utf8_lossy(payload).into_owned());
        let said = match said.contains("deserialize") {
            true => format!(
                "it does not take this command: name the DLQ processor, of the same version as this command line ({said})"
            ),
            false => said,
        };
        return Err(format!("function {name}: {said}").into());
    }
    serde_json::from_slice(payload).map_err(|_other| super::unexpected())
}
