//! `surehook alarms`: the alarms of a stack, and a test of the addresses that they reach.

pub(crate) mod calls;
mod choice;
mod report;
mod ring;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use surehook::outside;

use crate::{
    Failure,
    operator::{print_json, table::table},
    text::date_and_distance,
};
use calls::{Alarm, Calls};
use choice::ChoiceError;

/// What to do with the alarms.
#[derive(Debug, Subcommand)]
pub(crate) enum AlarmsCommand {
    /// List the alarms of a stack: state, and since when
    #[command(
        after_help = "Examples:\n  surehook alarms list --stack surehook\n\nEnvironment: STACK, AWS credentials and region.\n\
                      Permissions: cloudwatch:DescribeAlarms."
    )]
    List(StackArguments),
    /// Ring an alarm, say which addresses it reached, and set its state back
    ///
    /// The subscribers of the alarm get a message that calls itself a test, and a second one when the state is set back.
    #[command(
        after_help = "Examples:\n  surehook alarms test --stack surehook\n  surehook alarms test --stack surehook --alarm SweepSilentAlarm\n\n\
                      Environment: STACK, AWS credentials and region.\n\
                      Permissions: cloudwatch:DescribeAlarms, SetAlarmState and DescribeAlarmHistory, sns:ListSubscriptionsByTopic.\n\
                      Exit codes: 0 if a confirmed subscription was reached, 3 if none was or is not known to be, 130 if interrupted, 1 for all else."
    )]
    Test(TestArguments),
}

/// Which stack, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct StackArguments {
    /// The deployed stack
    #[arg(long, value_name = "NAME", env = "STACK", value_parser = NonEmptyStringValueParser::new())]
    stack: String,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Which alarm.
#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    #[command(flatten)]
    of: StackArguments,
    /// The alarm, by its whole name or its name in template.yaml
    #[arg(long, value_name = "NAME", default_value = "DeadLetterAlarm")]
    alarm: String,
    /// How long CloudWatch may take to report what the alarm's actions came to
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = humantime::parse_duration)]
    patience: Duration,
}

pub(crate) async fn run(command: AlarmsCommand) -> Result<ExitCode, Failure> {
    let calls = Calls::connect().await.ok_or("the development stack has no alarms")?;
    match command {
        AlarmsCommand::List(arguments) => list(&calls, &arguments).await,
        AlarmsCommand::Test(arguments) => ring::run(&calls, &arguments).await,
    }
}

async fn list(calls: &Calls, arguments: &StackArguments) -> Result<ExitCode, Failure> {
    let alarms = calls.alarms(&arguments.stack).await?;
    if alarms.is_empty() {
        return Err(ChoiceError::NoAlarms(arguments.stack.clone()).into());
    }
    match arguments.json {
        true => print_json(&alarms)?,
        false => println!("{}", table_of(&alarms)),
    }
    Ok(ExitCode::SUCCESS)
}

fn table_of(alarms: &[Alarm]) -> String {
    let now = outside::now();
    let since = |alarm: &Alarm| alarm.since.map(|since| date_and_distance(since, now)).unwrap_or_default();
    let rows = alarms.iter().map(|alarm| vec![alarm.id.clone(), alarm.state.to_string(), since(alarm)]);
    table(&["ALARM", "STATE", "SINCE"], rows)
}
