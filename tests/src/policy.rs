//! The template's policies on the table, judged by the strictest reading of IAM.
//!
//! A transaction is authorized as the single calls that it is made of. AWS does not document whether `dynamodb:LeadingKeys` then
//! holds the key of one item or the keys of all. [`Policies::judge`] compares all keys for each action, because a call that
//! passes this passes both.
//!
//! Source: AWS, "Using IAM with DynamoDB transactions"; "Actions, resources, and condition keys for Amazon DynamoDB"; "Condition
//! operators with multivalued context keys".

use std::{collections::BTreeSet, fmt};

use serde_json::{Value, json};
use wildmatch::WildMatch;

use crate::template::{FUNCTIONS, Template, each};

/// One permission: an action on the table or an index, for keys of one pattern where the statement names keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The function whose role has it.
    pub function: &'static str,
    /// The statement.
    pub sid: String,
    /// The action without its service, such as `PutItem`.
    pub action: String,
    /// `table`, or `index/` and a name.
    pub resource: String,
    /// The pattern of keys; `None` allows every key.
    pub keys: Option<String>,
}

/// A request to DynamoDB as IAM sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Its actions: several for a transaction.
    pub actions: BTreeSet<String>,
    /// `table`, or `index/` and a name.
    pub resource: String,
    /// The partition keys of everything that it touches.
    pub keys: BTreeSet<String>,
}

/// A call that no statement allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    function: String,
    action: String,
    call: Call,
}

/// The statements of all four roles that concern the table.
#[derive(Debug, Clone)]
pub struct Policies(Vec<Statement>);

#[derive(Debug, Clone)]
struct Statement {
    function: &'static str,
    sid: String,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone)]
enum Condition {
    /// `ForAllValues:StringLike`. It holds for a request without keys.
    EachKeyIsLike(Vec<String>),
    /// `ForAllValues:StringEquals`. It holds for a request without keys.
    EachKeyEquals(Vec<String>),
    /// `Null` with `false`.
    HasKey,
}

impl Policies {
    /// Reads the policies of a template.
    pub fn of(template: &Template) -> Self {
        let of_function = |(name, id)| template.statements(id).into_iter().filter_map(move |it| statement(name, &it));
        Self(FUNCTIONS.into_iter().flat_map(of_function).collect())
    }

    /// Returns everything that the roles allow.
    pub fn grants(&self) -> BTreeSet<Grant> {
        self.0.iter().flat_map(Statement::grants).collect()
    }

    /// Returns the permissions that a call needs, or the first action that the function's role denies.
    pub fn judge(&self, function: &str, call: &Call) -> Result<BTreeSet<Grant>, Denied> {
        let mut used = BTreeSet::new();
        for action in &call.actions {
            let allowed = self.0.iter().find(|it| it.function == function && it.allows(action, call));
            let Some(statement) = allowed else {
                return Err(Denied { function: function.to_owned(), action: action.clone(), call: call.clone() });
            };
            used.extend(statement.grants().into_iter().filter(|grant| grant.serves(action, call)));
        }
        Ok(used)
    }
}

impl Statement {
    fn allows(&self, action: &str, call: &Call) -> bool {
        self.actions.iter().any(|allowed| allowed == action)
            && self.resources.contains(&call.resource)
            && self.conditions.iter().all(|condition| condition.holds(&call.keys))
    }

    fn grants(&self) -> Vec<Grant> {
        let patterns: Vec<String> = self.conditions.iter().flat_map(Condition::patterns).cloned().collect();
        let keys = if patterns.is_empty() { vec![None] } else { patterns.into_iter().map(Some).collect() };
        let (mut grants, function) = (Vec::new(), self.function);
        for action in &self.actions {
            for resource in &self.resources {
                grants.extend(keys.iter().map(|keys| {
                    let (sid, action, resource) = (self.sid.clone(), action.clone(), resource.clone());
                    Grant { function, sid, action, resource, keys: keys.clone() }
                }));
            }
        }
        grants
    }
}

impl Grant {
    /// Whether an allowed call makes use of it.
    fn serves(&self, action: &str, call: &Call) -> bool {
        let is_for = |pattern: &String| call.keys.iter().any(|key| WildMatch::new(pattern).matches(key));
        self.action == action && self.resource == call.resource && self.keys.as_ref().is_none_or(is_for)
    }
}

impl Condition {
    fn holds(&self, keys: &BTreeSet<String>) -> bool {
        match self {
            Self::EachKeyIsLike(patterns) => {
                keys.iter().all(|key| patterns.iter().any(|pattern| WildMatch::new(pattern).matches(key)))
            }
            Self::EachKeyEquals(allowed) => keys.iter().all(|key| allowed.contains(key)),
            Self::HasKey => !keys.is_empty(),
        }
    }

    fn patterns(&self) -> &[String] {
        match self {
            Self::EachKeyIsLike(patterns) | Self::EachKeyEquals(patterns) => patterns,
            Self::HasKey => &[],
        }
    }
}

impl Call {
    /// Reads a request of DynamoDB's JSON protocol.
    pub fn of(operation: &str, request: &Value) -> Self {
        match operation {
            "TransactWriteItems" => transaction(request),
            "Query" => query(request),
            "PutItem" => Self::new([operation], "table", [&request["Item"]["pk"]]),
            _ => Self::new([operation], "table", [&request["Key"]["pk"]]),
        }
    }

    fn new<'v>(
        actions: impl IntoIterator<Item = impl Into<String>>,
        resource: &str,
        keys: impl IntoIterator<Item = &'v Value>,
    ) -> Self {
        let keys = keys.into_iter().filter_map(|key| Some(key["S"].as_str()?.to_owned())).collect();
        Self { actions: actions.into_iter().map(Into::into).collect(), resource: resource.to_owned(), keys }
    }
}

fn transaction(request: &Value) -> Call {
    let items = request["TransactItems"].as_array().unwrap();
    let parts: Vec<(&String, &Value)> = items.iter().flat_map(|item| item.as_object().unwrap()).collect();
    let actions = parts.iter().map(|(kind, _)| format!("{kind}Item"));
    Call::new(
        actions,
        "table",
        parts.iter().map(|(_, part)| part.get("Item").unwrap_or(&part["Key"])).map(|key| &key["pk"]),
    )
}

/// The partition of a query is what its condition compares first.
fn query(request: &Value) -> Call {
    let condition = request["KeyConditionExpression"].as_str().unwrap();
    let name = condition.split_once('=').map(|(_, rest)| rest.trim().split([' ', ')']).next().unwrap_or_default());
    let resource = request["IndexName"].as_str().map_or("table".to_owned(), |index| format!("index/{index}"));
    Call::new(["Query"], &resource, [&request["ExpressionAttributeValues"][name.unwrap_or_default()]])
}

/// A statement about the table; `None` for one about something else.
fn statement(function: &'static str, statement: &Value) -> Option<Statement> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let actions = each(&statement["Action"]);
    let actions: Vec<String> =
        actions.iter().filter_map(|action| Some(action.as_str()?.strip_prefix("dynamodb:")?.to_owned())).collect();
    (!actions.is_empty()).then(|| Statement {
        function,
        sid: text(&statement["Sid"]),
        actions,
        resources: each(&statement["Resource"]).iter().map(resource).collect(),
        conditions: statement["Condition"].as_object().into_iter().flatten().map(condition).collect(),
    })
}

fn resource(resource: &Value) -> String {
    if *resource == json!({"!GetAtt": "Table.Arn"}) {
        return "table".to_owned();
    }
    let sub = resource["!Sub"].as_str().and_then(|text| text.strip_prefix("${Table.Arn}/"));
    sub.unwrap_or_else(|| panic!("a role allows something on {resource}")).to_owned()
}

fn condition((operator, compared): (&String, &Value)) -> Condition {
    let values = each(&compared["dynamodb:LeadingKeys"]);
    let values: Vec<String> = values.iter().map(|value| value.as_str().unwrap().to_owned()).collect();
    match (operator.as_str(), values.as_slice()) {
        ("ForAllValues:StringLike", _) => Condition::EachKeyIsLike(values),
        ("ForAllValues:StringEquals", _) => Condition::EachKeyEquals(values),
        ("Null", [is_absent]) if is_absent == "false" => Condition::HasKey,
        _ => panic!("the judge does not know the condition {operator}: {compared}"),
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, action, call } = self;
        write!(
            formatter,
            "{function} is not authorized to perform dynamodb:{action} on {} with the keys {:?}",
            call.resource, call.keys
        )
    }
}
