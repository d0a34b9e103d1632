//! How far a long command is: a bar on a terminal, a line now and then elsewhere.

use std::{cell::Cell, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// How often a line says how far it is, where no bar can be drawn.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Says how far it is, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) bar: ProgressBar,
    /// What is done with each of them: "sent".
    done: &'static str,
    /// When a line was last written where no bar can be drawn.
    last_line: Cell<Instant>,
}

impl Progress {
    pub(crate) fn new(total: u64, done: &'static str) -> Self {
        let bar = ProgressBar::new(total);
        let style =
            ProgressStyle::with_template(&format!("{{bar:30}} {{pos}} of {{len}} {done}  {{msg}}  for {{elapsed}}"));
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar, done, last_line: Cell::new(Instant::now()) }
    }

    /// Says how far it is: beside the bar, or in a line now and then.
    pub(crate) fn tell(&self, text: &str) {
        let Self { bar, done, last_line } = self;
        if !bar.is_hidden() {
            bar.set_message(text.to_owned());
        } else if last_line.get().elapsed() >= BETWEEN_LINES {
            last_line.set(Instant::now());
            eprintln!("{} of {} {done}  {text}", bar.position(), bar.length().unwrap_or_default());
        }
    }
}
