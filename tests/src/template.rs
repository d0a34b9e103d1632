//! `template.yaml` as tests read it.

use std::collections::BTreeMap;

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Map, Value, json};

/// The four functions: names and logical ids.
pub const FUNCTIONS: [(&str, &str); 4] =
    [("consumer", "Consumer"), ("requeuer", "Requeuer"), ("producer", "Producer"), ("dlq-processor", "DlqProcessor")];

/// Names and values of the parameters that a deployment sets.
pub type Parameters<'p> = &'p [(&'p str, &'p str)];

/// The template, with short forms of intrinsic functions as `{"!Ref": …}`.
#[derive(Debug)]
pub struct Template(Value);

impl Template {
    /// Reads `template.yaml`.
    pub fn load() -> Self {
        Self::parse(&Self::text())
    }

    /// Returns the text of `template.yaml`.
    pub fn text() -> String {
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml")).unwrap()
    }

    /// Reads a template's text.
    pub fn parse(text: &str) -> Self {
        Self(json_of(&Yaml::load_from_str(text).unwrap()[0]))
    }

    /// Returns a resource by its logical id.
    pub fn resource(&self, id: &str) -> &Value {
        let resource = &self.0["Resources"][id];
        assert!(resource.is_object(), "the template has no resource {id}");
        resource
    }

    /// Returns the resources of a type, with their logical ids.
    pub fn resources_of(&self, kind: &str) -> Vec<(&str, &Value)> {
        let all = self.0["Resources"].as_object().unwrap();
        all.iter().filter(|(_, resource)| resource["Type"] == kind).map(|(id, it)| (id.as_str(), it)).collect()
    }

    /// Returns the parameters.
    pub fn parameters(&self) -> &Map<String, Value> {
        self.0["Parameters"].as_object().unwrap()
    }

    /// Returns whether a condition holds in a deployment with these parameters.
    pub fn holds(&self, condition: &str, parameters: Parameters<'_>) -> bool {
        self.is_true(&self.0["Conditions"][condition], parameters)
    }

    fn is_true(&self, value: &Value, parameters: Parameters<'_>) -> bool {
        let (function, operands) = value.as_object().and_then(|function| function.iter().next()).unwrap();
        match function.as_str() {
            "!Condition" => self.holds(operands.as_str().unwrap(), parameters),
            "!Equals" => self.resolve(&operands[0], parameters) == self.resolve(&operands[1], parameters),
            "!Not" => !self.is_true(&operands[0], parameters),
            "!And" => each(operands).iter().all(|operand| self.is_true(operand, parameters)),
            other => panic!("conditions with {other} are not known here"),
        }
    }

    /// Returns a value, or that of the parameter that it refers to, as text.
    pub fn resolve(&self, value: &Value, parameters: Parameters<'_>) -> String {
        let Some(name) = value["!Ref"].as_str() else {
            return value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        };
        match parameters.iter().find(|(known, _)| *known == name) {
            Some((_, set)) => (*set).to_owned(),
            None => self.resolve(&self.parameters()[name]["Default"], &[]),
        }
    }

    /// What CloudFormation shows in its console, in groups.
    pub fn parameter_groups(&self) -> &Value {
        &self.0["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    }

    /// Returns the conditions.
    pub fn conditions(&self) -> &Map<String, Value> {
        self.0["Conditions"].as_object().unwrap()
    }

    /// Returns the rules that parameters must keep.
    pub fn rules(&self) -> &Map<String, Value> {
        self.0["Rules"].as_object().unwrap()
    }

    /// Returns the outputs.
    pub fn outputs(&self) -> &Map<String, Value> {
        self.0["Outputs"].as_object().unwrap()
    }

    /// The variables that a function gets, its own over those of all.
    pub fn variables(&self, id: &str) -> BTreeMap<String, Value> {
        let variables = |at: &Value| at["Environment"]["Variables"].as_object().cloned().unwrap_or_default();
        let own = variables(&self.resource(id)["Properties"]);
        variables(&self.0["Globals"]["Function"]).into_iter().chain(own).collect()
    }

    /// The statements of a function's role. Those that a condition leaves out are told by both of its branches.
    pub fn statements(&self, id: &str) -> Vec<Value> {
        let policy = &self.resource(&format!("{id}Role"))["Properties"]["Policies"][0]["PolicyDocument"];
        policy["Statement"].as_array().unwrap().iter().flat_map(branches).collect()
    }
}

/// What a value may be: an `!If` has two branches, of which `AWS::NoValue` is none.
pub fn branches(value: &Value) -> Vec<Value> {
    match value.get("!If").and_then(Value::as_array) {
        Some(parts) => parts[1..].iter().flat_map(branches).collect(),
        None if *value == json!({"!Ref": "AWS::NoValue"}) => Vec::new(),
        None => vec![value.clone()],
    }
}

/// One or several.
pub fn each(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

fn json_of(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Tagged(tag, inner) => json!({ format!("!{}", tag.suffix): json_of(inner) }),
        Yaml::Mapping(map) => {
            map.iter().map(|(name, value)| (name.as_str().unwrap().to_owned(), json_of(value))).collect()
        }
        Yaml::Sequence(items) => items.iter().map(json_of).collect(),
        scalar => scalar_of(scalar),
    }
}

fn scalar_of(yaml: &Yaml<'_>) -> Value {
    if let Some(text) = yaml.as_str() {
        return text.into();
    }
    let number = yaml.as_integer().map(Value::from).or_else(|| yaml.as_floating_point().map(Value::from));
    number.or_else(|| yaml.as_bool().map(Value::from)).unwrap_or(Value::Null)
}
