//! `surehook`, for the tests: their function processes. With `TEST_HANDLER=order-counter` the consumer is the one of the
//! documentation's example. `guard UPSTREAM FIRST_PORT` judges the calls of deployed functions, for `.ci/deploy`.

use std::process::ExitCode;

use surehook_tests::{account, template::Template};

#[path = "../../functions/consumer/examples/order_counter.rs"]
mod order_counter;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["function", "consumer"] if is_order_counter() => order_counter::run(),
        ["guard", upstream, first_port] => guard(upstream, first_port),
        _ => surehook_cli::main(),
    }
}

fn is_order_counter() -> bool {
    surehook::outside::variable("TEST_HANDLER").as_deref() == Some("order-counter")
}

fn guard(upstream: &str, first_port: &str) -> ExitCode {
    let guarded = first_port.parse().map_err(std::io::Error::other).and_then(|first_port| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(account::guard(&Template::load(), upstream, first_port, |line| println!("{line}")))
    });
    match guarded {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the guard can't listen from port {first_port}: {error}");
            ExitCode::FAILURE
        }
    }
}
