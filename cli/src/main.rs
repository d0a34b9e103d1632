//! `surehook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    surehook_cli::main()
}
