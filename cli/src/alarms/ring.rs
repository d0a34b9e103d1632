//! `surehook alarms test`.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use surehook::Millis;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    TestArguments,
    calls::{Alarm, Calls, Reported, State, Subscription, is_topic},
    choice::choose,
    report::Report,
};
use crate::{
    Failure,
    operator::{INTERRUPTED, print_json, stop_signal},
    text::with_causes,
};

/// The reason in the message that subscribers get.
const TEST: &str = "Test by `surehook alarms test`: nothing is wrong";
/// The reason in the message that they get when the state is set back.
const TEST_IS_OVER: &str = "The test by `surehook alarms test` is over";
/// How often CloudWatch is asked what the actions came to. Its API takes few calls a second.
const INTERVAL: Duration = Duration::from_secs(1);
/// The exit code if the test reached no confirmed subscription.
const UNHEARD: u8 = 3;

/// The subscriptions to each topic that an alarm calls.
pub(super) type Addresses = BTreeMap<String, Vec<Subscription>>;

/// How a test ended.
enum Ended {
    /// CloudWatch reported what the actions came to, or time ran out.
    Followed(Vec<Reported>),
    /// The operator stopped it.
    Interrupted,
}

pub(super) async fn run(calls: &Calls, arguments: &TestArguments) -> Result<ExitCode, Failure> {
    let stack = &arguments.of.stack;
    let alarm = choose(calls.alarms(stack).await?, stack, &arguments.alarm)?;
    let addresses = addresses(calls, &alarm).await?;
    eprintln!("Ringing {} …", alarm.name);
    let reported = match ring(calls, &alarm, arguments.patience).await? {
        Ended::Followed(reported) => reported,
        Ended::Interrupted => {
            eprintln!("Interrupted. The state of {} is {} again.", alarm.name, alarm.state);
            return Ok(INTERRUPTED.into());
        }
    };
    let report = Report::new(&alarm, addresses, reported);
    match arguments.of.json {
        true => print_json(&report)?,
        false => report.print(),
    }
    Ok(if report.reached() > 0 { ExitCode::SUCCESS } else { UNHEARD.into() })
}

/// Returns the subscriptions to the alarm's topics. They are read before the alarm rings, because a test that can't name the
/// addresses must not send anything.
async fn addresses(calls: &Calls, alarm: &Alarm) -> Result<Addresses, Failure> {
    let mut addresses = Addresses::new();
    for topic in alarm.active_actions().iter().filter(|action| is_topic(action)) {
        let asked = calls.subscriptions(topic).await;
        let found = asked.map_err(|error| {
            format!("the subscriptions to {topic} can't be listed: {}", with_causes(error.as_ref()))
        })?;
        addresses.insert(topic.clone(), found.unwrap_or_default());
    }
    Ok(addresses)
}

/// Rings an alarm and sets its state back, however the test ends.
async fn ring(calls: &Calls, alarm: &Alarm, patience: Duration) -> Result<Ended, Failure> {
    let stop = tokio::spawn(stop_signal());
    let last = calls.last_action(&alarm.name).await?;
    // Not cancelled: a call under way could reach CloudWatch after the one that sets the state back.
    let ended = match calls.set_state(&alarm.name, State::Alarm, TEST).await {
        Ok(()) => until_stopped(stop, follow(calls, alarm, last, patience)).await,
        Err(error) => Err(format!("{} could not be rung: {}", alarm.name, with_causes(error.as_ref())).into()),
    };
    match (ended, calls.set_state(&alarm.name, alarm.state, TEST_IS_OVER).await) {
        (ended, Ok(())) => ended,
        (ended, Err(error)) => Err(not_set_back(alarm, ended.err().as_ref(), &error)),
    }
}

async fn until_stopped(
    stop: JoinHandle<std::io::Result<()>>,
    followed: impl Future<Output = Result<Vec<Reported>, Failure>>,
) -> Result<Ended, Failure> {
    tokio::select! {
        followed = followed => followed.map(Ended::Followed),
        _stopped = stop => Ok(Ended::Interrupted),
    }
}

/// Asks CloudWatch until it reports every action, or time runs out.
async fn follow(
    calls: &Calls,
    alarm: &Alarm,
    last: Option<Millis>,
    patience: Duration,
) -> Result<Vec<Reported>, Failure> {
    let end = Instant::now() + patience;
    loop {
        let reported = calls.actions_after(&alarm.name, last).await?;
        let is_reported = |action: &String| reported.iter().any(|one| one.action == *action);
        if alarm.active_actions().iter().all(is_reported) || Instant::now() >= end {
            return Ok(reported);
        }
        sleep(INTERVAL).await;
    }
}

fn not_set_back(alarm: &Alarm, first: Option<&Failure>, error: &Failure) -> Failure {
    let first = first.map(|first| format!("{}\n", with_causes(first.as_ref()))).unwrap_or_default();
    let Alarm { name, state, .. } = alarm;
    format!(
        "{first}the state of {name} could not be set back: {}\nCloudWatch sets it at its next evaluation, within minutes; or: \
         aws cloudwatch set-alarm-state --alarm-name {name} --state-value {state} --state-reason 'the test is over'",
        with_causes(error.as_ref())
    )
    .into()
}
