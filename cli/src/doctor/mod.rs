//! `surehook doctor`: proves a configuration, before it is deployed and after.
//!
//! [`gather`] asks whoever knows (the shell, Lambda, QStash, the table, the functions themselves) and makes [`Facts`] of it;
//! [`rules`] judge facts and never ask anybody; [`report`] is what a person or a program reads. What could not be asked is a
//! finding too: silence must mean that all is well.

mod facts;
mod gather;
mod report;
mod rules;
mod unknown;

use std::process::ExitCode;

use clap::Args;

use crate::{Failure, operator::print_json};
pub(crate) use facts::Facts;
pub(crate) use report::{Finding, Report};

/// What to look at, and how to answer.
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Read the settings of this deployed stack's functions, with your AWS credentials, instead of the variables of the shell
    #[arg(long, value_name = "NAME")]
    stack: Option<String>,
    /// Send no signed event through the path, and call no function's URL
    #[arg(long)]
    no_canary: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(arguments: DoctorArguments) -> Result<ExitCode, Failure> {
    if !arguments.json {
        eprintln!("Looking at {} …", arguments.stack.as_deref().unwrap_or("the variables of this shell"));
    }
    let facts = gather::facts(arguments.stack, !arguments.no_canary).await?;
    let report = rules::judge(&facts);
    if arguments.json {
        print_json(&report)?;
    } else {
        report.print();
    }
    Ok(ExitCode::from(report.exit_code()))
}
