//! Explores the ledger's rules and says what was found.
#![allow(clippy::print_stdout, reason = "a command speaks to its user")]

use std::{process::ExitCode, time::Instant};

use surehook_model::scopes::scopes;

fn main() -> ExitCode {
    let deep = std::env::args().any(|argument| argument == "--deep");
    let (mut failed, mut total) = (false, 0);
    for scope in scopes(deep) {
        let began = Instant::now();
        let explored = scope.ledger.explore();
        let (states, depth, took) = (explored.states, explored.depth, began.elapsed().as_secs_f64());
        println!("{:<62} {states:>10} states, {depth:>3} steps deep, {took:>4.0} s", scope.name);
        total += states;
        for (promise, path) in &explored.broken {
            failed = true;
            println!("  BROKEN: {promise}\n    {}", path.join("\n    "));
        }
    }
    println!(
        "{total} states; {}",
        if failed { "a promise is broken" } else { "every promise is kept in each of them" }
    );
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
