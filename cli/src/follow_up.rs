//! Adds `--env-file` to the commands that are printed for the operator to run next, if the variables of this process came from that file.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use clap::CommandFactory;

use crate::{Arguments, text::quoted};

/// The command itself, as it is written in texts.
const NAME: &str = "surehook";
/// The file that the variables of this process were read from.
static ENV_FILE: OnceLock<PathBuf> = OnceLock::new();

/// Remembers the file that the variables of this process were read from.
pub(crate) fn remember(file: PathBuf) {
    // The command line is parsed once.
    let _first = ENV_FILE.set(file);
}

/// Returns a text in which each command of Surehook names the file that this process has its variables from.
pub(crate) fn runnable(text: &str) -> String {
    with_file(text, ENV_FILE.get().map(PathBuf::as_path))
}

fn with_file(text: &str, file: Option<&Path>) -> String {
    let Some(file) = file else { return text.to_owned() };
    let with_file = format!("{NAME} --env-file {}", quoted(&file.to_string_lossy()));
    let mut parts = text.split(NAME);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        result.push_str(if begins_with_command(rest) { &with_file } else { NAME });
        result.push_str(rest);
    }
    result
}

/// Returns whether a space and a command follow.
fn begins_with_command(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix(' ') else { return false };
    let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(rest.len());
    Arguments::command().find_subcommand(&rest[..end]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_commands_name_the_file_of_the_variables() {
        let text = "`surehook why EVENT` and\n  surehook dead-letters show ab; table surehook stays, surehook-1 too";
        let file = Path::new("my .env");
        assert_eq!(
            with_file(text, Some(file)),
            "`surehook --env-file 'my .env' why EVENT` and\n  surehook --env-file 'my .env' dead-letters show ab; table surehook stays, \
             surehook-1 too"
        );
        assert_eq!(with_file(text, None), text);
    }
}
