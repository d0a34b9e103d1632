//! The DLQ processor as a Lambda function.

use std::process::ExitCode;

fn main() -> ExitCode {
    surehook::web::serve::run("dlq-processor", surehook_dlq_processor::run())
}
