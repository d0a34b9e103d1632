//! What all contestants stand on: one DynamoDB, one destination, one QStash key; and events that are checked on their way.

use std::{fs, path::PathBuf};

use surehook::{outside, secret::Secret};

use crate::{
    contestant::{Contestant, Programs},
    dynamo::Tables,
    error::BenchError,
    event::Delivery,
    host::{Function, Invocation, Start},
    receiver::Receiver,
    tls::Front,
};

/// The functions' public URL, which the signature covers.
const BASE: &str = "https://bench.lambda-url.us-east-1.on.aws";
const CURRENT_KEY: &str = "sig_benchmark_current";
/// Anybody's but the development stack's, which is refused on Lambda.
const MASTER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const NEXT_KEY: &str = "sig_benchmark_next";

/// The stage.
#[derive(Debug)]
pub(crate) struct Stage {
    programs: Programs,
    tables: Tables,
    receiver: Receiver,
    key: Secret,
    logs: PathBuf,
}

/// How a function reaches DynamoDB.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Road<'a> {
    /// At this URL, in plain text.
    Plain(&'a str),
    /// Through a front that speaks TLS.
    Tls(&'a Front),
}

impl Stage {
    /// Sets it up. Functions' output goes below the folder of what is installed.
    pub(crate) fn new(programs: Programs, tables: Tables, receiver: Receiver) -> Result<Self, BenchError> {
        let logs = programs.installed.join("logs");
        fs::create_dir_all(&logs).map_err(BenchError::file(&logs))?;
        let key = Secret::new(CURRENT_KEY).ok_or(BenchError::Dynamo)?;
        Ok(Self { programs, tables, receiver, key, logs })
    }

    /// Starts a contestant.
    pub(crate) fn start(&self, contestant: Contestant, road: Road<'_>) -> Result<Function, BenchError> {
        self.start_under(&[], contestant, road)
    }

    /// Starts a contestant as the argument of another program.
    pub(crate) fn start_under(
        &self,
        program: &[String],
        contestant: Contestant,
        road: Road<'_>,
    ) -> Result<Function, BenchError> {
        Function::start(&Start {
            contestant,
            command: [program, &contestant.command(&self.programs)].concat(),
            variables: self.variables(contestant, road),
            log: self.logs.join(format!("{}.log", contestant.name())),
        })
    }

    fn variables(&self, contestant: Contestant, road: Road<'_>) -> Vec<(String, String)> {
        let table = if contestant.has_our_records() { &self.tables.ours } else { &self.tables.theirs };
        let path = outside::variable("PATH").unwrap_or_default();
        let home = self.logs.display().to_string();
        let fixed = [
            ("PATH", path.as_str()),
            ("HOME", &home),
            ("LANG", "en_US.UTF-8"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_LAMBDA_FUNCTION_NAME", "bench"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
            ("QSTASH_CURRENT_SIGNING_KEY", CURRENT_KEY),
            ("QSTASH_NEXT_SIGNING_KEY", NEXT_KEY),
            ("CONSUMER_URL", BASE),
            ("TABLE_NAME", table),
            ("DESTINATION_URL", &self.receiver.url),
            ("SIGNING_SECRETS", MASTER),
            // As on Lambda: the consumer writes its line with the metrics in it.
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("ALLOW_PRIVATE_DESTINATIONS", "true"),
            ("STACK", "bench"),
        ];
        let own = contestant.variables(&self.programs).into_iter().chain(road.variables());
        let fixed = fixed.into_iter().map(|(name, value)| (name, value.to_owned()));
        fixed.chain(own).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Deliveries of a size, none like another.
    pub(crate) fn deliveries(&self, size: usize, count: usize) -> Vec<Delivery> {
        (0..count).map(|_| Delivery::new(size, outside::new_id())).collect()
    }

    /// Signed attempts, made before any clock runs.
    pub(crate) fn events(&self, deliveries: &[Delivery]) -> Vec<Vec<u8>> {
        deliveries.iter().map(|delivery| delivery.event(&self.key, BASE, outside::now())).collect()
    }

    /// Attempts that somebody else signed.
    pub(crate) fn forged(&self, deliveries: &[Delivery]) -> Vec<Vec<u8>> {
        let key = self.key.clone();
        let stranger = Secret::new("sig_somebody_elses").unwrap_or(key);
        deliveries.iter().map(|delivery| delivery.event(&stranger, BASE, outside::now())).collect()
    }

    /// One event, which must be answered with 200.
    pub(crate) fn invoke(&self, function: &mut Function, event: &[u8]) -> Result<Invocation, BenchError> {
        let invocation = function.invoke(event)?;
        let answer: serde_json::Value = serde_json::from_slice(&invocation.answer).unwrap_or_default();
        if answer["statusCode"] == 200 {
            return Ok(invocation);
        }
        let text = String::from_utf8_lossy(&invocation.answer).chars().take(300).collect::<String>();
        Err(function.blame(format!("did not answer 200 but {text}")))
    }

    /// Whether the destination got exactly these bodies, byte for byte, since this was asked last.
    pub(crate) fn expect(&self, function: &Function, deliveries: &[Delivery]) -> Result<(), BenchError> {
        let mut received = self.receiver.take();
        let mut sent: Vec<&[u8]> = deliveries.iter().map(|delivery| delivery.body.as_bytes()).collect();
        received.sort();
        sent.sort_unstable();
        if received == sent {
            return Ok(());
        }
        Err(function.blame(format!(
            "did not deliver each event once as it was: {} events, {} requests",
            sent.len(),
            received.len()
        )))
    }
}

impl Road<'_> {
    /// Each runtime has a variable of its own for authorities.
    fn variables(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Plain(url) => vec![("AWS_ENDPOINT_URL_DYNAMODB", url.to_owned())],
            Self::Tls(front) => vec![
                ("AWS_ENDPOINT_URL_DYNAMODB", front.url.clone()),
                ("SSL_CERT_FILE", front.authorities.display().to_string()),
                ("AWS_CA_BUNDLE", front.authorities.display().to_string()),
                ("NODE_EXTRA_CA_CERTS", front.authority.display().to_string()),
            ],
        }
    }
}
