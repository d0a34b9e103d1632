//! CloudWatch and SNS, as far as alarms need them, by a test's script.
//!
//! Sources: AWS, "CloudWatch API reference" and "SNS API reference"; the wording of an alarm's history is AWS's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use http::Uri;
use serde_json::{Value, json};
use surehook_tests::served::Served;

use super::cbor::{decoded, encoded};

/// The topic of most tests.
pub(crate) const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:local-AlarmTopic-1";
/// An action that is no topic.
pub(crate) const FUNCTION: &str = "arn:aws:lambda:us-east-1:123456789012:function:page";

/// How the account stands, and what was done with it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Name and state of each alarm.
    pub(crate) states: BTreeMap<String, String>,
    /// What each alarm calls when it rings.
    pub(crate) actions: Vec<String>,
    /// The subscriptions to each topic: protocol, endpoint, and ARN or the word in its place.
    pub(crate) topics: BTreeMap<String, Vec<[String; 3]>>,
    /// Operations that the caller may not call.
    pub(crate) denied: BTreeSet<&'static str>,
    /// The state that the caller may not set.
    pub(crate) denied_state: &'static str,
    /// Actions that fail.
    pub(crate) failing: BTreeSet<String>,
    /// How often the history is asked for in vain after an alarm rang.
    pub(crate) late: usize,
    /// Everything that was set: alarm, state, reason.
    pub(crate) set: Vec<[String; 3]>,
    /// When each action was called, in seconds, and which.
    called: Vec<(f64, String)>,
}

/// A running account. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) url: String,
    account: Arc<Mutex<Account>>,
    _served: Served,
}

impl Cloud {
    /// Starts an account that has these alarms, all of which call these actions.
    pub(crate) fn start(alarms: &[&str], actions: &[&str]) -> Self {
        let states = alarms.iter().map(|name| ((*name).to_owned(), "OK".to_owned())).collect();
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        let account = Account { states, actions, called: vec![(1.0, TOPIC.to_owned())], ..Account::default() };
        let account = Arc::new(Mutex::new(account));
        let served = Served::start(|_| Router::new().fallback(answer).with_state(Arc::clone(&account)));
        Self { url: served.url.clone(), account, _served: served }
    }

    /// Changes the account.
    pub(crate) fn with<T>(self, change: impl FnOnce(&mut Account) -> T) -> Self {
        let _unused = change(&mut self.account.lock().unwrap());
        self
    }

    /// Subscribes an address to the topic. A confirmed subscription has an ARN.
    pub(crate) fn subscribed(self, protocol: &str, endpoint: &str, is_confirmed: bool) -> Self {
        let arn = if is_confirmed { format!("{TOPIC}:1") } else { "PendingConfirmation".to_owned() };
        let subscription = [protocol.to_owned(), endpoint.to_owned(), arn];
        self.with(|account| account.topics.entry(TOPIC.to_owned()).or_default().push(subscription))
    }

    /// Everything that was set so far: alarm, state, reason.
    pub(crate) fn set(&self) -> Vec<[String; 3]> {
        self.account.lock().unwrap().set.clone()
    }

    pub(crate) fn state(&self, alarm: &str) -> String {
        self.account.lock().unwrap().states[alarm].clone()
    }
}

async fn answer(State(account): State<Arc<Mutex<Account>>>, uri: Uri, body: Bytes) -> Response {
    let mut account = account.lock().unwrap();
    match uri.path().rsplit_once("/operation/") {
        Some((_, operation)) => account.cloudwatch(operation, &decoded(&body)),
        None => account.sns(&url::form_urlencoded::parse(&body).into_owned().collect()),
    }
}

impl Account {
    fn cloudwatch(&mut self, operation: &str, request: &Value) -> Response {
        if self.denied.contains(operation) || request["StateValue"] == self.denied_state {
            let message = format!("User: u is not authorized to perform: cloudwatch:{operation}");
            return cbor(403, &json!({ "__type": "AccessDenied", "message": message }));
        }
        cbor(
            200,
            &match operation {
                "DescribeAlarms" => self.page(request),
                "DescribeAlarmHistory" => self.history(),
                _ => self.set_state(request),
            },
        )
    }

    /// One alarm a page; a token is the name of the next one, as CloudWatch has it. Names are sorted.
    fn page(&self, request: &Value) -> Value {
        let prefix = request["AlarmNamePrefix"].as_str().unwrap();
        let first = request["NextToken"].as_str().unwrap_or(prefix);
        let mut found = self.states.iter().filter(|(name, _)| name.starts_with(prefix) && name.as_str() >= first);
        let alarms: Vec<Value> = found.by_ref().take(1).map(|(name, state)| self.described(name, state)).collect();
        match found.next() {
            Some((next, _)) => json!({ "MetricAlarms": alarms, "NextToken": next }),
            None => json!({ "MetricAlarms": alarms }),
        }
    }

    fn described(&self, name: &str, state: &str) -> Value {
        json!({ "AlarmName": name, "StateValue": state, "StateUpdatedTimestamp": 1_700_000_000.5, "ActionsEnabled": true, "AlarmActions": self.actions })
    }

    fn set_state(&mut self, request: &Value) -> Value {
        let said = ["AlarmName", "StateValue", "StateReason"].map(|name| request[name].as_str().unwrap().to_owned());
        let before = self.states.insert(said[0].clone(), said[1].clone());
        if before.is_some_and(|before| before != said[1]) {
            let now = 2.0 + self.called.len() as f64;
            self.called.extend(self.actions.iter().map(|action| (now, action.clone())));
        }
        self.set.push(said);
        json!({})
    }

    /// The newest first.
    fn history(&mut self) -> Value {
        let rang = self.set.iter().any(|[_, state, _]| state == "ALARM");
        let is_late = rang && self.late > 0;
        self.late -= usize::from(is_late);
        let known = if is_late { &self.called[..1] } else { &self.called[..] };
        let items: Vec<Value> = known.iter().rev().map(|(at, action)| self.item(*at, action)).collect();
        json!({ "AlarmHistoryItems": items })
    }

    fn item(&self, at: f64, action: &str) -> Value {
        let (summary, state) = match self.failing.contains(action) {
            true => {
                (format!("Failed to execute action {action}. Received error: \"Resource does not exist\""), "Failed")
            }
            false => (format!("Successfully executed action {action}"), "Succeeded"),
        };
        let data = json!({ "actionState": state, "notificationResource": action }).to_string();
        json!({ "Timestamp": at, "HistoryItemType": "Action", "HistorySummary": summary, "HistoryData": data })
    }

    /// One subscription a page.
    fn sns(&self, request: &BTreeMap<String, String>) -> Response {
        let operation = request["Action"].as_str();
        if self.denied.contains(operation) {
            let message = format!("User: u is not authorized to perform: SNS:{operation}");
            return sns_error(403, "AuthorizationError", &message);
        }
        let Some(subscriptions) = self.topics.get(&request["TopicArn"]) else {
            return sns_error(404, "NotFound", "Topic does not exist");
        };
        let number: usize = request.get("NextToken").map_or(0, |token| token.parse().unwrap());
        let shown = subscriptions.get(number).map(member).unwrap_or_default();
        let next = (number + 1 < subscriptions.len()).then(|| format!("<NextToken>{}</NextToken>", number + 1));
        xml(
            200,
            &format!(
                "<ListSubscriptionsByTopicResponse><ListSubscriptionsByTopicResult><Subscriptions>{shown}</Subscriptions>{}\
             </ListSubscriptionsByTopicResult></ListSubscriptionsByTopicResponse>",
                next.unwrap_or_default()
            ),
        )
    }
}

fn member([protocol, endpoint, arn]: &[String; 3]) -> String {
    format!(
        "<member><SubscriptionArn>{arn}</SubscriptionArn><Protocol>{protocol}</Protocol><Endpoint>{endpoint}</Endpoint></member>"
    )
}

fn sns_error(status: u16, code: &str, message: &str) -> Response {
    let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    xml(status, &format!("<ErrorResponse>{error}</ErrorResponse>"))
}

fn xml(status: u16, body: &str) -> Response {
    let response = Response::builder().status(status).header("content-type", "text/xml");
    response.body(Body::from(body.to_owned())).unwrap()
}

fn cbor(status: u16, body: &Value) -> Response {
    let response = Response::builder().status(status).header("content-type", "application/cbor");
    response.header("smithy-protocol", "rpc-v2-cbor").body(Body::from(encoded(body))).unwrap()
}
