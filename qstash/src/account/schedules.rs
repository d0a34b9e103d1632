//! Schedules: messages that are published again and again.

use std::{collections::BTreeMap, sync::Arc};

use surehook::Millis;

use super::{Account, Order, Published, Refused, timeline::Due};
use crate::{
    chance::purpose,
    clock::Moment,
    cron::Cron,
    message::{Message, Origin, State},
    options::Options,
};

/// A schedule.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) id: String,
    pub(crate) cron: Cron,
    pub(crate) order: Order,
    pub(crate) options: Arc<Options>,
    pub(crate) created_at: Millis,
    pub(crate) is_paused: bool,
    pub(crate) last: Option<Millis>,
    pub(crate) next: Option<Millis>,
    /// What became of the messages of the last run, by id.
    pub(crate) states: BTreeMap<String, &'static str>,
    /// Why the last run published nothing.
    pub(crate) error: Option<String>,
}

impl Account {
    /// Makes a schedule, or replaces the one of that id. Its order is checked as if it were published now.
    pub(crate) fn put_schedule(&mut self, mut order: Order, moment: Moment) -> Result<String, Refused> {
        let cron = Cron::parse(order.given.get("upstash-cron").ok_or(Refused::NoCron)?, moment.now)?;
        let id = self.schedule_id(order.given.get("upstash-schedule-id"))?;
        order.origin = Origin { queue: order.given.get("upstash-queue-name").map(str::to_owned), ..order.origin };
        order.origin.schedule = Some(id.clone());
        let options = self.check(order.clone(), moment)?.options;
        let known = self.schedules.remove(&id);
        if let Some(next) = known.as_ref().and_then(|known| known.next) {
            self.timeline.remove(next, Due::Schedule(id.clone()));
        }
        let next = cron.next(moment.now);
        let schedule = Schedule {
            id: id.clone(),
            cron,
            order,
            options,
            created_at: known.as_ref().map_or(moment.now, |known| known.created_at),
            is_paused: known.is_some_and(|known| known.is_paused),
            last: None,
            next,
            states: BTreeMap::new(),
            error: None,
        };
        self.schedules.insert(id.clone(), schedule);
        self.arm(&id);
        Ok(id)
    }

    fn schedule_id(&mut self, given: Option<&str>) -> Result<String, Refused> {
        let most = self.common.plan.schedules;
        let is_new = given.is_none_or(|id| !self.schedules.contains_key(id));
        if is_new && self.schedules.len() >= most {
            return Err(Refused::quota("maxSchedules", most));
        }
        match given {
            Some(id) if !surehook::qstash::client::is_name(id) => Err(Refused::Name(id.to_owned())),
            Some(id) => Ok(id.to_owned()),
            None => Ok(self.make_id(purpose::SCHEDULE, "scd_", 26)),
        }
    }

    fn arm(&mut self, id: &str) {
        if let Some(next) = self.schedules.get(id).and_then(|schedule| schedule.next) {
            self.timeline.put(next, Due::Schedule(id.to_owned()));
        }
    }

    /// A schedule's time has come. A paused one lets it pass.
    pub(super) fn run_schedule(&mut self, id: &str, moment: Moment) {
        let Some(schedule) = self.schedules.get_mut(id) else { return };
        schedule.next = schedule.cron.next(moment.now);
        let order = (!schedule.is_paused).then(|| schedule.order.clone());
        self.arm(id);
        let Some(order) = order else { return };
        let published = self.publish(order, moment);
        if let Some(schedule) = self.schedules.get_mut(id) {
            schedule.note_run(published, moment.now);
        }
    }

    /// Removes a schedule.
    pub(crate) fn remove_schedule(&mut self, id: &str) -> bool {
        let Some(schedule) = self.schedules.remove(id) else { return false };
        if let Some(next) = schedule.next {
            self.timeline.remove(next, Due::Schedule(id.to_owned()));
        }
        true
    }

    /// Pauses a schedule or lets it go on.
    pub(crate) fn pause_schedule(&mut self, id: &str, is_paused: bool) -> bool {
        let found = self.schedules.get_mut(id);
        found.map(|schedule| schedule.is_paused = is_paused).is_some()
    }

    /// A message is settled.
    pub(super) fn tell_schedule(&mut self, message: &Arc<Message>, state: State) {
        let Some(id) = &message.origin.schedule else { return };
        let word = if matches!(state, State::Delivered { .. }) { "SUCCESS" } else { "FAIL" };
        let states = self.schedules.get_mut(id).map(|schedule| &mut schedule.states);
        if let Some(known) = states.and_then(|states| states.get_mut(&message.id)) {
            *known = word;
        }
    }
}

impl Schedule {
    fn note_run(&mut self, published: Result<Published, Refused>, now: Millis) {
        self.last = Some(now);
        match published {
            // A copy is a message of an earlier run, whose state is known.
            Ok(published) if published.deduplicated => self.error = None,
            Ok(published) => {
                self.error = None;
                self.states = published.messages.into_iter().map(|(id, _)| (id, "IN_PROGRESS")).collect();
            }
            Err(refused) => self.error = Some(refused.to_string()),
        }
    }
}
