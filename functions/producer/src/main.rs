//! The producer as a Lambda function.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    surehook::web::serve::exit_code("producer", surehook_producer::run().await)
}
