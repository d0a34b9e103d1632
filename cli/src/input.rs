//! What a command is given to read.

use std::{
    io::{BufRead, IsTerminal, Read},
    path::Path,
};

use crate::Failure;

/// A file whole, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Returns once the operator agrees. `yes` answers in advance; any other answer than yes ends the command. Without a terminal
/// there is no answer, so the command ends too.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let refused = "nothing was changed, because standard input is not a terminal to answer on: add --yes to agree";
        return Err(format!("{question} {refused}").into());
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err("nothing was changed".into()) }
}
