//! The benchmark: Surehook's consumer beside the same work in Node and Python.
//!
//! | module | what it is for |
//! |---|---|
//! | [`options`], [`contestant`] | what is asked for, and who is compared |
//! | [`stage`] | what all stand on, and that each does its work: 200, and every body at the destination exactly once |
//! | [`event`] | function-URL events with signed deliveries in them |
//! | [`host`], [`receiver`], [`http`] | Lambda's Runtime API and the destination, with nothing of their own to do while a function works |
//! | [`dynamo`], [`tls`] | DynamoDB in a process of its own, and TLS before it |
//! | [`warm`], [`cold`], [`instructions`] | the three measurements |
//! | [`process`], [`throttle`], [`size`] | CPU time and memory of a process, its share of a core, the size of its zip |
//! | [`stats`], [`table`], [`report`], [`machine`], [`document`] | figures, and how they are told |
//!
//! `src/bin/floor.rs` is a contestant of its own.

mod cold;
mod contestant;
mod document;
mod dynamo;
mod error;
mod event;
mod host;
mod http;
mod instructions;
mod machine;
mod options;
mod process;
mod receiver;
mod report;
mod size;
mod stage;
mod stats;
mod table;
mod throttle;
mod tls;
mod warm;

use std::{collections::BTreeMap, env, fs, path::Path, process::ExitCode};

use clap::Parser;
use tokio::runtime::Runtime;

use cold::Cold;
use contestant::{Contestant, Programs};
use dynamo::{Database, Tables};
use error::BenchError;
use instructions::Counts;
use options::{CommandLine, Options, Role};
use receiver::Receiver;
use report::Findings;
use stage::{Road, Stage};
use throttle::Throttle;
use tls::Front;
use warm::Warm;

fn main() -> ExitCode {
    let CommandLine { role, options } = CommandLine::parse();
    let ended = Runtime::new().map_err(BenchError::system("no threads")).and_then(|runtime| match role {
        Some(Role::Dynamodb) => runtime.block_on(dynamo::serve()),
        Some(Role::Instructions { write, kept }) => count(&runtime, &options, &kept, write),
        None => measure(&runtime, &options),
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(runtime: &Runtime, options: &Options) -> Result<(), BenchError> {
    let program = env::current_exe().map_err(BenchError::system("where this program is"))?;
    let programs = programs(options, &program)?;
    let sizes = sizes(&programs)?;
    let unbundled = zipped(&programs.installed.join("node/node_modules"))?;
    let installed = programs.installed.clone();
    let database = Database::start(&program, options.dynamodb.as_deref())?;
    let stage = stage_on(runtime, &database, programs)?;
    let effort = options.effort();
    // The shorter one first: what it lacks is known sooner.
    let cold = measure_cold(runtime, &stage, &database, &installed, options.cold_starts())?;
    let warm = Warm::measure(&stage, Road::Plain(&database.url), effort)?;
    let machine = machine::description(&installed);
    let database = options.dynamodb.as_ref().map_or("the embedded one (dynoxide), in a process of its own", |url| url);
    let findings = Findings { machine, effort, database: database.to_owned(), sizes, unbundled, warm, cold };
    tell(&findings.text(), options)
}

/// Counts, and compares with what is kept, or keeps it.
fn count(runtime: &Runtime, options: &Options, kept: &Path, write: bool) -> Result<(), BenchError> {
    let folder = &options.installed;
    fs::create_dir_all(folder).map_err(BenchError::file(folder))?;
    let program = env::current_exe().map_err(BenchError::system("where this program is"))?;
    let database = Database::start(&program, None)?;
    let stage = stage_on(runtime, &database, programs(options, &program)?)?;
    let counts = Counts::take(&stage, Road::Plain(&database.url), folder)?;
    if write {
        return counts.write(kept);
    }
    let (lines, differ) = counts.compared_with(&Counts::read(kept)?);
    println!("{}", lines.join("\n"));
    if differ == 0 { Ok(()) } else { Err(BenchError::Differ(differ)) }
}

/// The stage, with tables and a destination of its own.
fn stage_on(runtime: &Runtime, database: &Database, programs: Programs) -> Result<Stage, BenchError> {
    let receiver = Receiver::start().map_err(BenchError::system("a port for the destination"))?;
    let tables = runtime.block_on(Tables::create(&database.url, &receiver.url))?;
    Stage::new(programs, tables, receiver)
}

fn tell(figures: &str, options: &Options) -> Result<(), BenchError> {
    println!("{figures}");
    let Some(path) = options.document() else { return Ok(()) };
    document::rewrite(&path, figures)?;
    eprintln!("The figures are in {} now.", path.display());
    Ok(())
}

/// The inner error is not one of the run: where nobody may hold a process back, all else is measured nevertheless.
fn measure_cold(
    runtime: &Runtime,
    stage: &Stage,
    database: &Database,
    folder: &Path,
    starts: usize,
) -> Result<Result<Cold, String>, BenchError> {
    let throttle = match Throttle::new() {
        Ok(throttle) => throttle,
        Err(error) => {
            let reason = format!("a control group for CPU time can't be made here ({error}); root can make one");
            eprintln!("Cold starts at a share of a core are left out: {reason}");
            return Ok(Err(reason));
        }
    };
    let front = runtime.block_on(Front::start(&database.url, folder))?;
    cold::measure(stage, Road::Tls(&front), &throttle, starts).map(Ok)
}

/// Whole paths, because functions are started with an environment of their own.
fn programs(options: &Options, program: &Path) -> Result<Programs, BenchError> {
    let whole = |path: &Path| path.canonicalize().map_err(BenchError::file(path));
    Ok(Programs {
        consumer: whole(&options.consumer)?,
        floor: whole(&program.with_file_name("floor"))?,
        installed: whole(&options.installed)?,
    })
}

fn sizes(programs: &Programs) -> Result<BTreeMap<Contestant, f64>, BenchError> {
    let Programs { consumer, installed, .. } = programs;
    Ok(BTreeMap::from([
        (Contestant::Surehook, zipped(consumer)?),
        (Contestant::Node, zipped(&installed.join("node/dist"))?),
        (Contestant::Python, zipped(&installed.join("python/task"))?),
    ]))
}

fn zipped(path: &Path) -> Result<f64, BenchError> {
    size::zipped(path).map_err(BenchError::file(path))
}
