//! The producer as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    surehook::web::serve::run("producer", surehook_producer::run())
}
