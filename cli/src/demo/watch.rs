//! The live picture: what QStash and the receiver tell, as lines for a person. Equal lines of one moment are counted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use surehook_local::{
    Stack,
    qstash::{News, State},
    strapi::captures,
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinHandle,
    time::{Instant, interval},
};

use super::scene;
use crate::text::span;

/// How often lines are printed.
const MOMENT: Duration = Duration::from_millis(400);

/// What one endpoint's messages of one event went through.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
    /// Deliveries that QStash tried.
    pub(super) attempts: u32,
    /// How often QStash gave it up.
    pub(super) given_up: u32,
    /// How often it was taken up again.
    pub(super) again: u32,
}

/// Stories by body digest and endpoint path.
pub(super) type History = HashMap<(String, &'static str), Story>;

#[derive(Debug, Default)]
struct Picture {
    lines: BTreeMap<(u8, String), Vec<String>>,
    history: History,
    delivered: usize,
}

/// A running watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    picture: Arc<Mutex<Picture>>,
    started: Instant,
    task: JoinHandle<()>,
}

impl Watcher {
    pub(super) fn start(stack: &Stack, started: Instant) -> Self {
        let picture = Arc::new(Mutex::new(Picture::default()));
        let labels: HashMap<String, String> = captures()
            .iter()
            .enumerate()
            .map(|(index, capture)| (capture.digest(), format!("{} #{}", capture.event(), index + 1)))
            .collect();
        let task = tokio::spawn(follow(stack.qstash.news(), Arc::clone(&picture), labels, started));
        Self { picture, started, task }
    }

    /// Prints a sentence, after the lines that came before it.
    pub(super) fn say(&self, sentence: &str) {
        self.flush();
        println!("{:>5.1} s  {sentence}", self.started.elapsed().as_secs_f64());
    }

    /// Prints what has gathered.
    pub(super) fn flush(&self) {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner).print(self.started);
    }

    pub(super) fn history(&self) -> History {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner).history.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    mut news: Receiver<News>,
    picture: Arc<Mutex<Picture>>,
    labels: HashMap<String, String>,
    started: Instant,
) {
    let mut moments = interval(MOMENT);
    loop {
        tokio::select! {
            item = news.recv() => match item {
                Ok(item) => picture.lock().unwrap_or_else(PoisonError::into_inner).note(&item, &labels),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            _ = moments.tick() => picture.lock().unwrap_or_else(PoisonError::into_inner).print(started),
        }
    }
}

impl Picture {
    fn note(&mut self, news: &News, labels: &HashMap<String, String>) {
        let Some(label) = labels.get(&news.body_sha256).filter(|_| !news.is_callback) else {
            return;
        };
        let (path, endpoint) =
            if news.url.ends_with(scene::OTHER) { (scene::OTHER, "other API") } else { (scene::SHOP, "shop") };
        let story = self.history.entry((news.body_sha256.clone(), path)).or_default();
        let line = match news.state {
            State::Created { delay } if story.given_up > story.again => {
                story.again += 1;
                // Jitter makes every wait its own; whole hours tell the story.
                let hours = Duration::from_secs((delay.as_secs() + 1_800) / 3_600 * 3_600);
                let wait = if hours.is_zero() { delay } else { hours };
                let when = if delay.is_zero() { "now".to_owned() } else { format!("in about {}", span(wait)) };
                (3, format!("→ {endpoint}: taken up again, to be delivered {when}"))
            }
            State::Created { .. } | State::Active | State::Error { .. } => return,
            State::CancelRequested | State::Cancelled => return,
            State::Retry { status, wait, .. } => {
                story.attempts += 1;
                (1, format!("→ {endpoint}: {}, QStash tries again in {}", said(status), span(wait)))
            }
            State::Delivered { attempt } => {
                story.attempts += 1;
                self.delivered += 1;
                if attempt == 1 && story.given_up == 0 {
                    (0, format!("→ {endpoint}: delivered"))
                } else {
                    (4, format!("→ {endpoint}: delivered after all, attempt {}", story.attempts))
                }
            }
            State::Failed { status } => {
                story.attempts += 1;
                story.given_up += 1;
                (2, format!("→ {endpoint}: {}, QStash gives up; the requeuer takes over", said(status)))
            }
        };
        self.lines.entry(line).or_default().push(label.clone());
    }

    fn print(&mut self, started: Instant) {
        for ((_, line), labels) in std::mem::take(&mut self.lines) {
            let who = if labels.len() == 1 { labels[0].clone() } else { format!("{} events", labels.len()) };
            println!("{:>5.1} s    {who:<22} {line}", started.elapsed().as_secs_f64());
        }
    }
}

fn said(status: u16) -> String {
    match status {
        0 => "no answer".to_owned(),
        409 => "409 (another worker may still hold it)".to_owned(),
        489 => "489 (refused for good)".to_owned(),
        502 => "502 (the worker died)".to_owned(),
        status => status.to_string(),
    }
}
