//! The requeuer as a Lambda function.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    surehook::web::serve::exit_code("requeuer", surehook_requeuer::run().await)
}
