//! Which alarm a test rings.

use super::calls::{Alarm, State};

/// Why an alarm is not rung.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChoiceError {
    /// The stack has none.
    #[error(
        "stack {0} has no alarms in this account and region: compare the name with `sam list stack-outputs`, AWS_REGION, and the \
         parameter Observability"
    )]
    NoAlarms(String),
    /// The stack has none of this name.
    #[error("the stack has no alarm {wanted}; it has {}", .others.join(", "))]
    Unknown { wanted: String, others: Vec<String> },
    /// It rings already, for a reason of its own. A test would hide that reason.
    #[error("{name} is in ALARM already, and a test would hide why; name another with --alarm: {}", .others.join(", "))]
    Rings { name: String, others: Vec<String> },
    /// It has no action.
    #[error("{0} calls no action when it rings: deploy with AlarmEmail or AlarmTopicArn")]
    NoAction(String),
    /// Its actions are switched off.
    #[error("the actions of {0} are switched off: aws cloudwatch enable-alarm-actions --alarm-names {0}")]
    Disabled(String),
}

/// Chooses the alarm of this name, whole or as in the template.
pub(super) fn choose(alarms: Vec<Alarm>, stack: &str, wanted: &str) -> Result<Alarm, ChoiceError> {
    if alarms.is_empty() {
        return Err(ChoiceError::NoAlarms(stack.to_owned()));
    }
    let is_wanted = |alarm: &Alarm| alarm.id == wanted || alarm.name == wanted;
    let quiet = alarms.iter().filter(|alarm| !is_wanted(alarm) && alarm.state != State::Alarm);
    let others: Vec<String> = quiet.map(|alarm| alarm.id.clone()).collect();
    let Some(alarm) = alarms.into_iter().find(is_wanted) else {
        return Err(ChoiceError::Unknown { wanted: wanted.to_owned(), others });
    };
    let name = alarm.name.clone();
    match &alarm {
        Alarm { state: State::Alarm, .. } => Err(ChoiceError::Rings { name, others }),
        Alarm { actions, .. } if actions.is_empty() => Err(ChoiceError::NoAction(name)),
        Alarm { is_enabled: false, .. } => Err(ChoiceError::Disabled(name)),
        _ => Ok(alarm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(id: &str, state: State) -> Alarm {
        let actions = vec!["arn:aws:sns:us-east-1:1:topic".to_owned()];
        Alarm { name: format!("s-{id}-1"), id: id.to_owned(), state, since: None, actions, is_enabled: true }
    }

    #[test]
    fn an_alarm_is_found_by_either_name() {
        for wanted in ["BAlarm", "s-BAlarm-1"] {
            let alarms = vec![alarm("AAlarm", State::Alarm), alarm("BAlarm", State::InsufficientData)];
            assert_eq!(choose(alarms, "s", wanted).unwrap().id, "BAlarm");
        }
    }

    #[test]
    fn an_alarm_that_can_not_be_tested_says_why() {
        let without = |change: fn(&mut Alarm)| {
            let mut changed = alarm("AAlarm", State::Ok);
            change(&mut changed);
            vec![changed]
        };
        let rings = vec![alarm("AAlarm", State::Alarm), alarm("BAlarm", State::Ok), alarm("CAlarm", State::Alarm)];
        let others = vec!["BAlarm".to_owned()];
        for (alarms, wanted, expected) in [
            (vec![], "AAlarm", ChoiceError::NoAlarms("s".into())),
            (rings.clone(), "DAlarm", ChoiceError::Unknown { wanted: "DAlarm".into(), others: others.clone() }),
            (rings, "AAlarm", ChoiceError::Rings { name: "s-AAlarm-1".into(), others }),
            (without(|alarm| alarm.actions.clear()), "AAlarm", ChoiceError::NoAction("s-AAlarm-1".into())),
            (without(|alarm| alarm.is_enabled = false), "AAlarm", ChoiceError::Disabled("s-AAlarm-1".into())),
        ] {
            assert_eq!(choose(alarms, "s", wanted).unwrap_err(), expected);
        }
    }
}
