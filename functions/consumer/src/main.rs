//! The consumer as a Lambda function.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    surehook::web::serve::exit_code("consumer", surehook_consumer::run().await)
}
