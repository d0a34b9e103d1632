//! The consumer as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    surehook::web::serve::run("consumer", surehook_consumer::run())
}
