//! The command line: `demo`, `dev`, `load`, the functions' own processes, and the operator's commands.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks to its user")]

mod alarms;
mod demo;
mod dev;
mod doctor;
mod environment;
mod follow_up;
mod input;
mod load;
mod operator;
mod private_file;
mod progress;
mod publish;
mod qstash;
mod routes;
mod sources;
mod text;
mod topics;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use operator::{OperatorArguments, letters, stranded, why};

/// Why a command failed: a sentence for its user.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Guaranteed webhook delivery on AWS Lambda: QStash is the queue, DynamoDB the memory.
#[derive(Debug, Parser)]
#[command(name = "surehook", version, propagate_version = true)]
struct Arguments {
    /// Read environment variables from this file first (`surehook dev` writes .env.surehook)
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The file that the variables of this process were read from
    #[arg(long, global = true, hide = true, value_name = "FILE")]
    read_env_file: Option<PathBuf>,
    #[command(subcommand)]
    asked: Asked,
}

#[derive(Debug, Subcommand)]
enum Asked {
    #[command(flatten)]
    Command(Command),
    /// Be a function's process; the development stack starts these
    #[command(hide = true)]
    Function {
        /// Which function
        name: FunctionName,
    },
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the main job on the development stack: real Strapi webhooks through every failure, with a verdict
    Demo(demo::DemoArguments),
    /// Keep the development stack running: QStash, DynamoDB, the functions and a receiver, all on this machine
    Dev(dev::DevArguments),
    /// Put the development stack under load, then prove that every event arrived once: latency, memory, CPU, and a verdict
    Load(load::LoadArguments),
    /// Run a QStash server by itself, for whoever develops with QStash
    Qstash(Box<qstash::QstashArguments>),
    /// Check a configuration before or after its deployment: what is wrong, what will happen, how to fix it
    Doctor(doctor::DoctorArguments),
    /// Sources and destinations
    #[command(subcommand)]
    Routes(routes::RoutesCommand),
    /// Senders: what is known of them, and whether they would be believed
    #[command(subcommand)]
    Sources(sources::SourcesCommand),
    /// Publish one event to a QStash topic (URL group)
    Publish(Box<publish::PublishArguments>),
    /// Connect QStash topics (URL groups) to the stack
    #[command(subcommand)]
    Topics(topics::TopicsCommand),
    /// Events that were given up: by cause, one by one, and what to do with them
    DeadLetters(Box<letters::LettersArguments>),
    /// List events that have waited longer than every retry can take, and those that are unconfirmed
    Stranded(stranded::StrandedArguments),
    /// The story of one event: what happened, what happens next, what a replay would do
    Why(why::WhyArguments),
    /// The alarms of a deployed stack: their states, and a test of the addresses that they reach
    #[command(subcommand)]
    Alarms(alarms::AlarmsCommand),
    /// Sweep now instead of waiting for the schedule; says what it did, and what it left alone and why
    Sweep(OperatorArguments),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FunctionName {
    Consumer,
    Requeuer,
    Producer,
    DlqProcessor,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(file) = &arguments.env_file {
        return environment::run_again_with(file);
    }
    if let Some(file) = arguments.read_env_file {
        follow_up::remember(file);
    }
    match arguments.asked {
        Asked::Command(command) => command_line(command),
        Asked::Function { name } => function(name),
    }
}

fn command_line(command: Command) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        eprintln!("surehook: the system gives no threads");
        return ExitCode::FAILURE;
    };
    runtime.block_on(run(command))
}

async fn run(command: Command) -> ExitCode {
    if !matches!(command, Command::Demo(_) | Command::Dev(_) | Command::Load(_) | Command::Qstash(_)) {
        // `surehook … | head` ends when its reader has seen enough, as other commands do.
        sigpipe::reset();
    }
    let result = match command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Load(arguments) => load::run(arguments).await,
        Command::Qstash(arguments) => qstash::run(*arguments).await,
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Routes(command) => routes::run(command).await,
        Command::Sources(command) => sources::run(command).await,
        Command::Publish(arguments) => publish::run(*arguments).await,
        Command::Topics(command) => topics::run(command).await,
        Command::DeadLetters(arguments) => letters::run(*arguments).await,
        Command::Stranded(arguments) => stranded::run(arguments).await,
        Command::Why(arguments) => why::run(arguments).await,
        Command::Alarms(command) => alarms::run(command).await,
        Command::Sweep(arguments) => operator::sweep(arguments).await,
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            tell_failure(&follow_up::runnable(&text::with_causes(failure.as_ref())));
            ExitCode::FAILURE
        }
    }
}

/// Programs that asked for JSON get their answer as JSON, whatever it is.
fn tell_failure(text: &str) {
    if std::env::args().any(|argument| argument == "--json") {
        println!("{}", text::harmless_json(&serde_json::json!({ "error": text }).to_string()));
    }
    eprintln!("surehook: {}", text::harmless_lines(text));
}

/// A function has the runtime that it has on Lambda.
fn function(name: FunctionName) -> ExitCode {
    use surehook::web::serve::run;
    match name {
        FunctionName::Consumer => run("consumer", surehook_consumer::run()),
        FunctionName::Requeuer => run("requeuer", surehook_requeuer::run()),
        FunctionName::Producer => run("producer", surehook_producer::run()),
        FunctionName::DlqProcessor => run("dlq-processor", surehook_dlq_processor::run()),
    }
}
