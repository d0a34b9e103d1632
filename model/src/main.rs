//! Explores the ledger's rules and says what was found.
#![allow(clippy::print_stdout, reason = "a command speaks to its user")]

use std::{process::ExitCode, time::Instant};

use surehook_model::{
    scopes::{Size, scopes},
    unreached,
};

fn main() -> ExitCode {
    let size = match std::env::args().nth(1).as_deref() {
        None => Size::Full,
        Some("--quick") => Size::Quick,
        Some("--deep") => Size::Deep,
        Some(other) => {
            println!("{other} is unknown. Usage: surehook-model [--quick|--deep]");
            return ExitCode::FAILURE;
        }
    };
    let (mut failed, mut total, mut all) = (false, 0, Vec::new());
    for scope in scopes(size) {
        let began = Instant::now();
        let ledger = scope.ledger;
        let explored = if size == Size::Deep { ledger.explore_deep() } else { ledger.explore() };
        let (states, depth, took) = (explored.states, explored.depth, began.elapsed().as_secs_f64());
        println!("{:<62} {states:>10} states, {depth:>3} steps deep, {took:>4.0} s", scope.name);
        total += states;
        for (promise, path) in &explored.broken {
            failed = true;
            println!("  BROKEN: {promise}\n    {}", path.join("\n    "));
        }
        all.push(explored);
    }
    for never in unreached(&all) {
        failed = true;
        println!("  NEVER REACHED: {never}");
    }
    println!(
        "{total} states; {}",
        if failed { "a promise is broken, or the model too small" } else { "every promise is kept in each of them" }
    );
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
