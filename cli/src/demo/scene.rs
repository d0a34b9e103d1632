//! What goes wrong in the demo.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use surehook_local::{
    Stack,
    receiver::{Reaction, Received},
    strapi::captures,
};

/// Our consumer's destination.
pub(super) const SHOP: &str = "/shop";
/// The topic's second endpoint, which is not ours.
pub(super) const OTHER: &str = "/other-api";
/// Events that are published while the shop is up.
pub(super) const UP: usize = 24;
/// Events that are published while it is down.
pub(super) const DOWN: usize = 12;
/// How long it is down: longer than QStash's retries take at the demo's speed.
pub(super) const OUTAGE: Duration = Duration::from_millis(4_500);

/// Which event is rejected for good, answered too slowly, and killed in its worker's hands.
const REJECTED: usize = 3;
const SLOW: usize = 6;
const CRASHED: usize = 9;
/// Which event the other API is not ready for, for as long as QStash tries.
const UNREADY: usize = 2;

/// Switches of the scene, shared with the receiver.
#[derive(Debug, Clone, Default)]
struct Switches {
    down: Arc<AtomicBool>,
    mended: Arc<AtomicBool>,
}

/// The running scene.
#[derive(Debug)]
pub(super) struct Scene {
    switches: Switches,
}

impl Scene {
    /// Tells the receiver how to behave.
    pub(super) fn new(stack: &Arc<Stack>) -> Self {
        let switches = Switches::default();
        let indices: HashMap<String, usize> =
            captures().iter().enumerate().map(|(index, capture)| (capture.digest(), index)).collect();
        let attempts: Mutex<HashMap<String, u32>> = Mutex::default();
        let (inner, killer) = (switches.clone(), Arc::downgrade(stack));
        stack.receiver.react(move |received| {
            let Some(index) = indices.get(&received.body_sha256).copied() else {
                return Reaction::status(400);
            };
            let attempt = count(&attempts, received);
            if received.path == SHOP && index == CRASHED && attempt == 1 {
                if let Some(consumer) = killer.upgrade().and_then(|stack| stack.function("consumer").cloned()) {
                    let body = received.body.clone();
                    consumer.kill_busy(|payload| is_delivery_of(payload, &body));
                }
                return Reaction::status(503).after(Duration::from_millis(300)).saying("(its worker was killed)");
            }
            inner.react(received, index, attempt)
        });
        Self { switches }
    }

    pub(super) fn take_down(&self) {
        self.switches.down.store(true, Ordering::SeqCst);
    }

    pub(super) fn bring_up(&self) {
        self.switches.down.store(false, Ordering::SeqCst);
    }

    pub(super) fn repair(&self) {
        self.switches.mended.store(true, Ordering::SeqCst);
    }
}

impl Switches {
    fn react(&self, received: &Received, index: usize, attempt: u32) -> Reaction {
        if received.path == OTHER {
            return if index == UNREADY && attempt <= 4 { Reaction::status(503) } else { Reaction::status(200) };
        }
        if self.down.load(Ordering::SeqCst) {
            return Reaction::status(503).saying("down for maintenance");
        }
        match index {
            REJECTED if !self.mended.load(Ordering::SeqCst) => Reaction::status(422).saying("unknown field: biography"),
            SLOW if attempt == 1 => Reaction::status(503).after(Duration::from_millis(2_600)),
            _ if index.is_multiple_of(4) && attempt == 1 => Reaction::status(500).saying("try again"),
            _ => Reaction::status(200),
        }
    }
}

fn count(attempts: &Mutex<HashMap<String, u32>>, received: &Received) -> u32 {
    let Ok(mut attempts) = attempts.lock() else { return 0 };
    let count = attempts.entry(format!("{} {}", received.path, received.body_sha256)).or_default();
    *count += 1;
    *count
}

/// Whether a function-URL event carries this body.
fn is_delivery_of(payload: &[u8], body: &[u8]) -> bool {
    let event: Option<serde_json::Value> = serde_json::from_slice(payload).ok();
    event.as_ref().and_then(|event| event["body"].as_str()).is_some_and(|text| text.as_bytes() == body)
}
