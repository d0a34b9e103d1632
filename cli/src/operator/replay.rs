//! `surehook dead-letters replay`: sends letters again, a page at a time, so that ten thousand take no more memory than ten.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use surehook_dlq_processor::{
    Command, Cursor, Rate, Reply, Selection,
    reply::{Causes, Done},
};

use super::{
    Asker, OperatorArguments,
    guard::{Guard, Stop, Tally},
    letters::{again_with, enclose, plural, table_of},
    print_json,
    selection::SelectionArguments,
    unexpected,
};
use crate::{
    Failure,
    follow_up::runnable,
    input::confirm,
    progress::Progress,
    text::{exact_date, harmless},
};

/// Letters that are sent with one command. It is what Ctrl-C waits for.
const PAGE: usize = 50;
/// Letters without an outcome with which a guarded replay sends no more.
const WINDOW: usize = 200;
/// Outcomes from which on a share is one; or all that there are.
const ENOUGH: u64 = 10;
const ALL: u64 = u64::MAX;
/// Exit code of a command that was interrupted, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

/// Which, how fast, and when to stop.
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// How fast QStash delivers them: 50/s, 300/m, 1000/h; a bare number is per second
    #[arg(long)]
    rate: Option<Rate>,
    /// Send conflicts, each as an event of its own. A conflict came under the id of an earlier event with other content; `why` names that
    /// event. Letters that are no conflicts are not sent
    #[arg(long)]
    as_new: bool,
    /// Send this many first, watch in the ledger what becomes of them, and go on only if they succeed
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=200))]
    canary: Option<u16>,
    /// Watch what becomes of them all, and stop when more than this share fails again (with --canary 10% unless told)
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_failures: Option<f64>,
    /// How long to wait for an outcome, when outcomes are watched
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Do not ask before a whole selection is sent without --canary or --max-failures; needed where standard input is no terminal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    operator: OperatorArguments,
}

/// `10%` or `0.1`.
fn share(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    share.ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "write a share such as 10% or 0.1".to_owned())
}

/// What a replay came to.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    sent: u64,
    /// What would be sent, where only that was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would_send: Vec<String>,
    refused: u64,
    /// Of those whose outcome was watched.
    done: u64,
    failed_again: u64,
    /// Sent, watched, and without an outcome when the command ended: QStash delivers them.
    waiting: u64,
    /// Why it stopped before its end.
    stopped: Option<String>,
    /// With this as `--until`, the same command goes on.
    until: Option<String>,
}

/// A replay under way.
struct Run {
    asker: Asker,
    selection: Selection,
    dry_run: bool,
    json: bool,
    would_send: Vec<String>,
    rate: Option<Rate>,
    as_new: bool,
    after: Option<Cursor>,
    /// Whether letters are chosen by id.
    by_id: bool,
    /// Ids that were given and are not sent yet.
    ids: std::vec::IntoIter<String>,
    is_over: bool,
    guard: Option<Guard>,
    progress: Progress,
    interrupted: Arc<AtomicBool>,
    sent: u64,
    refused: u64,
}

pub(crate) async fn run(arguments: ReplayArguments) -> Result<ExitCode, Failure> {
    let json = arguments.operator.json;
    let mut run = Run::new(&arguments).await?;
    let result = run.go(arguments.canary.map(usize::from)).await;
    run.progress.bar.finish_and_clear();
    let report = run.report(result.as_ref());
    match json {
        true => print_json(&report)?,
        false => run.print(&report),
    }
    Ok(match result? {
        Some(Stop::Interrupted) => ExitCode::from(INTERRUPTED),
        None if run.refused == 0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Asks before a whole selection is sent without a guard.
fn agree(causes: &Causes, yes: bool) -> Result<(), Failure> {
    if causes.letters == 0 {
        return Ok(());
    }
    if !yes {
        eprintln!("{}\n", table_of(causes));
    }
    confirm(&format!("Send {} dead {} again?", causes.letters, plural(causes.letters, "letter")), yes)
}

impl Run {
    async fn new(arguments: &ReplayArguments) -> Result<Self, Failure> {
        let dry_run = arguments.selection.dry_run;
        let mut selection = arguments.selection.clone().selection()?;
        let asker = Asker::new(&arguments.operator).await?;
        let is_guarded = arguments.canary.is_some() || arguments.max_failures.is_some();
        let total = match selection.ids.len() {
            0 => {
                let causes = enclose(&asker, &mut selection.filter).await?;
                if !is_guarded && !dry_run {
                    agree(&causes, arguments.yes)?;
                }
                causes.letters
            }
            given => given as u64,
        };
        let guard = is_guarded && !dry_run;
        // At one delivery an hour there is no news for an hour.
        let patience = arguments.patience + arguments.rate.map_or(Duration::ZERO, |rate| rate.wait_behind(0));
        Ok(Self {
            asker,
            by_id: !selection.ids.is_empty(),
            ids: std::mem::take(&mut selection.ids).into_iter(),
            selection,
            dry_run,
            json: arguments.operator.json,
            would_send: Vec::new(),
            rate: arguments.rate,
            as_new: arguments.as_new,
            after: None,
            is_over: total == 0,
            guard: guard.then(|| Guard::new(arguments.max_failures.unwrap_or(0.1), patience)),
            progress: Progress::new(total, "sent"),
            interrupted: listen(),
            sent: 0,
            refused: 0,
        })
    }

    /// Sends everything, the canaries first; says why it stopped, if it did.
    async fn go(&mut self, canary: Option<usize>) -> Result<Option<Stop>, Failure> {
        if let Some(stop) = self.send_canaries(canary.unwrap_or_default()).await? {
            return Ok(Some(stop));
        }
        while !self.is_over {
            if self.interrupted.load(Ordering::Relaxed) {
                return Ok(Some(Stop::Interrupted));
            }
            if let Some(stop) = self.send(PAGE).await? {
                return Ok(Some(stop));
            }
            if let Some(stop) = self.settle(WINDOW, ENOUGH).await? {
                return Ok(Some(stop));
            }
        }
        self.settle(0, ALL).await
    }

    /// Sends canaries until so many have an outcome; those that are refused, or that the ledger does not follow, are none.
    async fn send_canaries(&mut self, canary: usize) -> Result<Option<Stop>, Failure> {
        let judged = |run: &Self| run.guard.as_ref().map_or(0, Guard::judged) as usize;
        let (mut before, mut is_first) = (0, true);
        while self.guard.is_some() && judged(self) < canary && !self.is_over {
            if !is_first && judged(self) == before {
                return Ok(Some(if self.sent == 0 { Stop::NothingSent } else { Stop::NotFollowed }));
            }
            (before, is_first) = (judged(self), false);
            if let Some(stop) = self.send(canary - before).await? {
                return Ok(Some(stop));
            }
            if let Some(stop) = self.settle(0, ALL).await? {
                return Ok(Some(stop));
            }
        }
        Ok(None)
    }

    async fn settle(&mut self, left: usize, enough: u64) -> Result<Option<Stop>, Failure> {
        let Some(guard) = &mut self.guard else { return Ok(None) };
        let progress = &self.progress;
        let news = |guard: &Guard| {
            let Tally { done, failed, .. } = guard.tally();
            let text = format!("{done} done, {failed} failed again, {} without an outcome yet", guard.waiting());
            progress.tell(&text);
        };
        guard.settle(&self.asker, left, enough, || self.interrupted.load(Ordering::Relaxed), news).await
    }

    /// Sends the next page.
    async fn send(&mut self, limit: usize) -> Result<Option<Stop>, Failure> {
        let selection = Selection { ids: self.ids.by_ref().take(limit).collect(), ..self.selection.clone() };
        let (dry_run, after, rate) = (self.dry_run, self.after.take(), self.rate);
        let command = Command::Replay { selection, dry_run, limit, after, rate, as_new: self.as_new };
        let Reply::Replayed(done) = self.asker.ask(command).await? else { return Err(unexpected()) };
        self.note(&done);
        self.is_over = if self.by_id { self.ids.as_slice().is_empty() } else { done.next.is_none() };
        self.after = done.next;
        Ok(done.stopped.map(Stop::Away))
    }

    fn note(&mut self, done: &Done) {
        let (bar, dry_run, json) = (&self.progress.bar, self.dry_run, self.json);
        bar.suspend(|| {
            for id in done.ids.iter().filter(|_| dry_run && !json) {
                println!("would be replayed: {}", harmless(id));
            }
            for (id, reason) in &done.refused {
                eprintln!("not replayed: {}: {}", harmless(id), runnable(&harmless(reason)));
            }
            for error in &done.unreadable {
                eprintln!("passed over: {}", harmless(error));
            }
        });
        self.sent += done.ids.len() as u64;
        self.refused += done.refused.len() as u64;
        bar.inc((done.ids.len() + done.refused.len()) as u64);
        self.progress.tell("");
        if dry_run && json {
            self.would_send.extend(done.ids.iter().cloned());
        }
        if let Some(guard) = &mut self.guard {
            guard.watch(&done.ids);
        }
    }

    fn report(&self, result: Result<&Option<Stop>, &Failure>) -> Report {
        let tally = self.guard.as_ref().map(Guard::tally).unwrap_or_default();
        let stopped = match result {
            Ok(stop) => stop.as_ref().map(ToString::to_string),
            Err(error) => Some(crate::text::with_causes(error.as_ref())),
        };
        let until = self.selection.filter.until.filter(|_| stopped.is_some()).map(exact_date);
        Report {
            dry_run: self.dry_run,
            sent: self.sent,
            refused: self.refused,
            would_send: self.would_send.clone(),
            done: tally.done,
            failed_again: tally.failed,
            waiting: self.guard.as_ref().map_or(0, Guard::waiting) as u64,
            stopped,
            until,
        }
    }

    /// The command that goes on. A span until now would mean another time by then.
    fn again(&self, until: &str) -> String {
        let since = self.selection.filter.since.map(exact_date);
        let options = [("--until", Some(until.to_owned())), ("--since", since)];
        let options: Vec<_> = options.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        again_with(&options)
    }

    fn print(&self, report: &Report) {
        let (sent, letters) = (report.sent, plural(report.sent, "letter"));
        if report.dry_run {
            return println!("{sent} dead {letters} would be replayed.");
        }
        if sent + report.refused == 0 && report.stopped.is_none() {
            return println!("No dead letter matches: nothing was sent.");
        }
        println!("{sent} dead {letters} sent, {} not.", report.refused);
        if self.guard.is_some() {
            println!(
                "{} done, {} failed again, {} without an outcome yet.",
                report.done, report.failed_again, report.waiting
            );
        } else if sent > 0 {
            let again =
                "QStash delivers them now; what fails again becomes a dead letter again: `surehook dead-letters`.";
            println!("{}", runnable(again));
        }
        let Some(stopped) = &report.stopped else { return };
        let stopped = runnable(&harmless(stopped.trim_end_matches('.')));
        if self.is_over {
            return println!("All were sent; then: {stopped}.");
        }
        println!("Stopped: {stopped}. What was sent is with QStash, which delivers it.");
        match &report.until {
            Some(until) => println!("To go on with those that are left:\n  {}", self.again(until)),
            None => {
                println!("To go on: the same command; letters that were sent are gone, and are refused as unknown.")
            }
        }
    }
}

/// Ctrl-C, or what `timeout` and service managers send.
#[cfg(unix)]
pub(crate) async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _told = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
pub(crate) async fn stop_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Set by the first Ctrl-C; the second ends the process at once, and the sweep finishes what was cut short.
fn listen() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    tokio::spawn(async move {
        while stop_signal().await.is_ok() {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(i32::from(INTERRUPTED));
            }
            eprintln!("\nstopping after the letters that are under way; Ctrl-C again stops at once");
        }
    });
    interrupted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_percent_or_number() {
        assert_eq!((share("10%"), share("0.25")), (Ok(0.1), Ok(0.25)));
        for bad in ["", "101%", "-1", "x", "2"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
