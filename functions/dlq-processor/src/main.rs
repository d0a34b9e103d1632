//! The DLQ processor as a Lambda function.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    surehook::web::serve::exit_code("dlq-processor", surehook_dlq_processor::run().await)
}
