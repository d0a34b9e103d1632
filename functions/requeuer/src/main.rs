//! The requeuer as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    surehook::web::serve::run("requeuer", surehook_requeuer::run())
}
