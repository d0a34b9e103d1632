//! The alarms of a stack, and the subscriptions to the topics that they are sent to.

use std::collections::BTreeMap;

use crate::{
    Failure,
    alarms::calls::{Calls, is_topic},
    doctor::facts::{Alarms, Learned, Unknown},
    text::with_causes,
};

/// Asks CloudWatch and SNS; `None` on the development stack, which has no alarms.
pub(super) async fn of(stack: &str) -> Option<Learned<Alarms>> {
    Some(asked(&Calls::connect().await?, stack).await)
}

async fn asked(calls: &Calls, stack: &str) -> Learned<Alarms> {
    let alarms = calls.alarms(stack).await.map_err(|error| unanswered(&error))?;
    let mut topics = BTreeMap::new();
    for topic in alarms.iter().flat_map(|alarm| alarm.active_actions()).filter(|action| is_topic(action)) {
        if !topics.contains_key(topic) {
            let found = calls.subscriptions(topic).await;
            topics.insert(topic.clone(), found.map_err(|error| unanswered(&error)));
        }
    }
    Ok(Alarms { alarms, topics })
}

fn unanswered(error: &Failure) -> Unknown {
    Unknown::Unanswered(with_causes(error.as_ref()))
}
