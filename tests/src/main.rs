//! `surehook`, for the tests: their function processes. With `TEST_HANDLER=order-counter` the consumer is the one of the
//! documentation's example.

use std::process::ExitCode;

#[path = "../../functions/consumer/examples/order_counter.rs"]
mod order_counter;

fn main() -> ExitCode {
    let is_consumer = std::env::args().skip(1).eq(["function", "consumer"].map(str::to_owned));
    if is_consumer && surehook::outside::variable("TEST_HANDLER").as_deref() == Some("order-counter") {
        return order_counter::run();
    }
    surehook_cli::main()
}
