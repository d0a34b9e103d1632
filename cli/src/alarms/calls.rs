//! Calls to CloudWatch and SNS: a stack's alarms, what became of their actions, and the subscriptions to their topics.

use aws_sdk_cloudwatch::{
    primitives::DateTime,
    types::{AlarmHistoryItem, HistoryItemType, MetricAlarm, ScanBy, StateValue},
};
use serde::{Deserialize, Serialize};
use surehook::{Millis, aws, outside};

use crate::Failure;

/// Items of an alarm's history that are read at a time, the newest first. An alarm has five actions for each state at most.
const MOST_ITEMS: i32 = 50;

/// The clients.
#[derive(Debug)]
pub(crate) struct Calls {
    cloudwatch: aws_sdk_cloudwatch::Client,
    sns: aws_sdk_sns::Client,
}

/// An alarm of the template.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alarm {
    pub(crate) name: String,
    /// Its name in the template.
    pub(crate) id: String,
    pub(crate) state: State,
    /// When its state was last updated.
    pub(crate) since: Option<Millis>,
    /// What it calls when it rings: topics, functions, and so on, by ARN.
    pub(crate) actions: Vec<String>,
    /// Whether its actions are switched on.
    pub(crate) is_enabled: bool,
}

/// The state of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum State {
    Ok,
    Alarm,
    InsufficientData,
}

/// A subscription to a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Subscription {
    pub(crate) protocol: String,
    /// The address, masked.
    pub(crate) endpoint: String,
    pub(crate) is_confirmed: bool,
}

/// What CloudWatch reports of an action that an alarm called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) action: String,
    pub(super) is_executed: bool,
    /// CloudWatch's own sentence.
    pub(super) summary: String,
}

/// The part of a history item's data that names the action.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActionData {
    notification_resource: Option<String>,
}

impl Calls {
    /// Connects as the shell's AWS settings say; `None` on the development stack, which has no CloudWatch.
    pub(crate) async fn connect() -> Option<Self> {
        if is_development(outside::variable) {
            return None;
        }
        let settings = aws::settings().await;
        let cloudwatch = aws_sdk_cloudwatch::Client::new(&settings);
        Some(Self { cloudwatch, sns: aws_sdk_sns::Client::new(&settings) })
    }

    /// Returns the alarms of a stack.
    pub(crate) async fn alarms(&self, stack: &str) -> Result<Vec<Alarm>, Failure> {
        let prefix = format!("{stack}-");
        let mut pages = self.cloudwatch.describe_alarms().alarm_name_prefix(prefix).into_paginator().send();
        let mut alarms = Vec::new();
        while let Some(page) = pages.next().await.transpose().map_err(|error| aws::explained(&error))? {
            alarms.extend(page.metric_alarms().iter().filter_map(|found| Alarm::of(stack, found)));
        }
        Ok(alarms)
    }

    /// Returns the subscriptions to a topic; `None` if the topic does not exist.
    pub(crate) async fn subscriptions(&self, topic: &str) -> Result<Option<Vec<Subscription>>, Failure> {
        let mut items = self.sns.list_subscriptions_by_topic().topic_arn(topic).into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(next) = items.next().await {
            match next {
                Ok(subscription) => found.push(Subscription::of(&subscription)),
                Err(error) if error.as_service_error().is_some_and(|e| e.is_not_found_exception()) => return Ok(None),
                Err(error) => return Err(aws::explained(&error).into()),
            }
        }
        Ok(Some(found))
    }

    /// Sets the state of an alarm. CloudWatch then calls the alarm's actions for this state.
    pub(super) async fn set_state(&self, alarm: &str, state: State, reason: &str) -> Result<(), Failure> {
        let call = self.cloudwatch.set_alarm_state().alarm_name(alarm).state_value(state.into()).state_reason(reason);
        call.send().await.map(drop).map_err(|error| aws::explained(&error).into())
    }

    /// Returns when an alarm last called an action, by CloudWatch's clock.
    pub(super) async fn last_action(&self, alarm: &str) -> Result<Option<Millis>, Failure> {
        Ok(self.history(alarm).await?.first().and_then(|newest| millis(newest.timestamp())))
    }

    /// Returns what CloudWatch reports of the actions that an alarm called after `last`, the oldest first. An action that still runs
    /// is left out.
    pub(super) async fn actions_after(&self, alarm: &str, last: Option<Millis>) -> Result<Vec<Reported>, Failure> {
        let items = self.history(alarm).await?;
        let after = items.iter().take_while(|item| millis(item.timestamp()) > last);
        let mut reported: Vec<Reported> = after.filter_map(Reported::of).collect();
        reported.reverse();
        Ok(reported)
    }

    /// The actions in an alarm's history, the newest first.
    async fn history(&self, alarm: &str) -> Result<Vec<AlarmHistoryItem>, Failure> {
        let call =
            self.cloudwatch.describe_alarm_history().alarm_name(alarm).history_item_type(HistoryItemType::Action);
        let answer = call.scan_by(ScanBy::TimestampDescending).max_records(MOST_ITEMS).send().await;
        Ok(answer.map_err(|error| aws::explained(&error))?.alarm_history_items.unwrap_or_default())
    }
}

fn millis(time: Option<&DateTime>) -> Option<Millis> {
    time.and_then(|time| time.to_millis().ok())
}

/// Whether these are the variables of the development stack: a Lambda of this machine, and no CloudWatch beside it.
fn is_development(look_up: impl Fn(&str) -> Option<String>) -> bool {
    let is_local = |url: String| url.starts_with("http://127.0.0.1");
    let has_cloudwatch = look_up("AWS_ENDPOINT_URL").or_else(|| look_up("AWS_ENDPOINT_URL_CLOUDWATCH")).is_some();
    look_up("AWS_ENDPOINT_URL_LAMBDA").is_some_and(is_local) && !has_cloudwatch
}

impl Alarm {
    fn of(stack: &str, found: &MetricAlarm) -> Option<Self> {
        let name = found.alarm_name()?;
        Some(Self {
            name: name.to_owned(),
            id: id_of(stack, name)?.to_owned(),
            state: State::of(found.state_value()),
            since: millis(found.state_updated_timestamp()),
            actions: found.alarm_actions().to_vec(),
            is_enabled: found.actions_enabled().unwrap_or(true),
        })
    }

    /// Returns the actions that CloudWatch calls when the alarm rings.
    pub(crate) fn active_actions(&self) -> &[String] {
        if self.is_enabled { &self.actions } else { &[] }
    }
}

/// Returns the name that an alarm of this stack has in the template. CloudFormation calls it `<stack>-<name>-<random>`, and neither of
/// the last two has a hyphen. So the stack `a` does not take the alarms of the stack `a-b`.
fn id_of<'a>(stack: &str, name: &'a str) -> Option<&'a str> {
    let (id, random) = name.strip_prefix(stack)?.strip_prefix('-')?.split_once('-')?;
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_plain(id) && is_plain(random) && id.ends_with("Alarm")).then_some(id)
}

/// Whether an action is a topic of SNS. The actions' ARNs begin with `arn:<partition>:<service>:`.
pub(crate) fn is_topic(action: &str) -> bool {
    action.split(':').nth(2) == Some("sns")
}

impl State {
    /// An alarm whose state CloudWatch does not say is taken for one without data.
    fn of(state: Option<&StateValue>) -> Self {
        match state {
            Some(StateValue::Ok) => Self::Ok,
            Some(StateValue::Alarm) => Self::Alarm,
            _ => Self::InsufficientData,
        }
    }
}

impl From<State> for StateValue {
    fn from(state: State) -> Self {
        match state {
            State::Ok => Self::Ok,
            State::Alarm => Self::Alarm,
            State::InsufficientData => Self::InsufficientData,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(StateValue::from(*self).as_str())
    }
}

impl Subscription {
    /// A subscription that is not confirmed, or was deleted, has a word in the place of its ARN.
    fn of(found: &aws_sdk_sns::types::Subscription) -> Self {
        let protocol = found.protocol().unwrap_or_default();
        Self {
            protocol: protocol.to_owned(),
            endpoint: masked(protocol, found.endpoint().unwrap_or_default()),
            is_confirmed: found.subscription_arn().is_some_and(|arn| arn.starts_with("arn:")),
        }
    }
}

impl std::fmt::Display for Subscription {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.protocol, self.endpoint)
    }
}

/// Returns as much of an address as its owner needs to recognise it. ARNs stay whole.
fn masked(protocol: &str, endpoint: &str) -> String {
    match protocol {
        "email" | "email-json" => {
            let (name, domain) = endpoint.split_once('@').unwrap_or((endpoint, ""));
            format!("{}…@{domain}", name.chars().take(1).collect::<String>())
        }
        "http" | "https" => {
            let host = url::Url::parse(endpoint).ok().and_then(|url| url.host_str().map(str::to_owned));
            format!("{protocol}://{}/…", host.unwrap_or_default())
        }
        "sms" => format!("…{}", endpoint.chars().skip(endpoint.chars().count().saturating_sub(2)).collect::<String>()),
        _ => endpoint.to_owned(),
    }
}

impl Reported {
    /// Reads an item of type `Action`. Its summary is `Successfully executed action <ARN>` or `Failed to execute action <ARN>. …`.
    fn of(item: &AlarmHistoryItem) -> Option<Self> {
        let summary = item.history_summary()?;
        let is_executed = summary.starts_with("Successfully executed");
        if !is_executed && !summary.starts_with("Failed to execute") {
            return None;
        }
        let data: ActionData = serde_json::from_str(item.history_data()?).ok()?;
        Some(Self { action: data.notification_resource?, is_executed, summary: summary.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_takes_its_own_alarms_only() {
        for (stack, name, id) in [
            ("a", "a-DeadLetterAlarm-1AB2C3", Some("DeadLetterAlarm")),
            ("a-b", "a-b-DeadLetterAlarm-1AB2C3", Some("DeadLetterAlarm")),
            ("a", "a-b-DeadLetterAlarm-1AB2C3", None),
            ("a", "a-DeadLetterAlarm-b-1AB2C3", None),
            ("a", "ab-DeadLetterAlarm-1AB2C3", None),
            ("a", "a-DeadLetterAlarm", None),
            ("a", "a-Own-1", None),
            ("a", "a--1", None),
        ] {
            assert_eq!(id_of(stack, name), id, "{stack}: {name}");
        }
    }

    #[test]
    fn addresses_are_masked() {
        for (protocol, endpoint, shown) in [
            ("email", "alice@example.com", "a…@example.com"),
            ("email-json", "é@example.com", "é…@example.com"),
            ("email", "", "…@"),
            ("sms", "+491701234567", "…67"),
            ("https", "https://user:pw@hooks.example/T00/secret?key=1", "https://hooks.example/…"),
            ("https", "nonsense", "https:///…"),
            ("sqs", "arn:aws:sqs:us-east-1:1:queue", "arn:aws:sqs:us-east-1:1:queue"),
        ] {
            assert_eq!(masked(protocol, endpoint), shown);
        }
    }

    #[test]
    fn the_development_stack_has_no_cloudwatch() {
        let local = ("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9000");
        for (variables, is) in [
            (vec![local], true),
            (vec![local, ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")], false),
            (vec![local, ("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:1")], false),
            (vec![("AWS_ENDPOINT_URL_LAMBDA", "https://vpce-1.lambda.us-east-1.vpce.amazonaws.com")], false),
            (vec![], false),
        ] {
            let look_up = |name: &str| variables.iter().find(|(it, _)| *it == name).map(|(_, url)| (*url).to_owned());
            assert_eq!(is_development(look_up), is, "{variables:?}");
        }
    }
}
