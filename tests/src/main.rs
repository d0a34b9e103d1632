//! `surehook`, for the tests: their function processes.

use std::process::ExitCode;

fn main() -> ExitCode {
    surehook_cli::main()
}
