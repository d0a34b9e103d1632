//! `--env-file`: the command runs again in a process that has the file's variables. A running process can't be given
//! variables safely, and the AWS SDK reads its own.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

/// Names the file to read.
const FLAG: &str = "--env-file";
/// Names the file that was read. The second run has it instead, because it must not read the file again, and prints commands that
/// name it.
const READ_FLAG: &str = "--read-env-file";

/// Returns the arguments that the operator typed, without the file of the variables.
pub(crate) fn typed() -> Vec<String> {
    without_flag(READ_FLAG, std::env::args().skip(1))
}

pub(crate) fn run_again_with(file: &Path) -> ExitCode {
    match read(file).and_then(|variables| run_again(file, &variables)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("surehook: {} can't be used: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn read(file: &Path) -> std::io::Result<Vec<(String, String)>> {
    Ok(parse(&std::fs::read_to_string(file)?))
}

/// `NAME=value` lines; empty lines and those that begin with `#` say nothing. Quotes around a value are not part of it.
fn parse(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| line.strip_prefix("export ").unwrap_or(line).split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// The second run takes this process's place, so that a signal reaches it and nobody is left behind.
#[cfg(unix)]
fn run_again(file: &Path, variables: &[(String, String)]) -> std::io::Result<u8> {
    use std::os::unix::process::CommandExt;
    Err(second_run(file, variables)?.exec())
}

#[cfg(not(unix))]
fn run_again(file: &Path, variables: &[(String, String)]) -> std::io::Result<u8> {
    let status = second_run(file, variables)?.status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn second_run(file: &Path, variables: &[(String, String)]) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(READ_FLAG).arg(file).args(without_flag(FLAG, std::env::args().skip(1)));
    command.envs(variables.iter().cloned());
    Ok(command)
}

fn without_flag(flag: &str, arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut skip = false;
    for argument in arguments {
        if !std::mem::take(&mut skip) {
            skip = argument == flag;
            if !skip && !argument.starts_with(&format!("{flag}=")) {
                kept.push(argument);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_line_by_line() {
        let variables = parse("# a\nA=1\n\nexport B=\"x=y\"\n");
        assert_eq!(variables, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())]);
    }

    #[test]
    fn the_flag_is_not_passed_on() {
        let arguments = ["--env-file", "f", "sweep", "--env-file=g", "x"].map(str::to_owned);
        assert_eq!(without_flag(FLAG, arguments.into_iter()), ["sweep", "x"]);
    }
}
