//! Where, when and with what was measured: figures without it mean nothing.

use std::{fs, path::Path, process::Command};

/// What is told about a run, as a list in Markdown.
pub(crate) fn description(installed: &Path) -> String {
    let python = installed.join("python/runtime/bin/python").display().to_string();
    let lines = [
        ("machine", format!("{}, {} cores, Linux {}", cpu_model(), cores(), kernel())),
        ("date", output("date", &["-u", "+%Y-%m-%d"])),
        ("commit", commit()),
        ("Rust", output("rustc", &["--version"])),
        ("Node", format!("{}, {}", output("node", &["--version"]), node_libraries(installed))),
        ("Python", format!("{}, {}", output(&python, &["--version"]), python_libraries(installed))),
    ];
    lines.map(|(name, text)| format!("- {name}: {text}\n")).concat()
}

/// What a program says, without the line's end; empty where it is not there.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| "unknown CPU".to_owned(), |(_, model)| model.trim().to_owned())
}

/// Major and minor version: what a distributor adds to them says more than figures need.
fn kernel() -> String {
    output("uname", &["-r"]).split('.').take(2).collect::<Vec<_>>().join(".")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn commit() -> String {
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    let more = if changes.is_empty() { "" } else { " + changes" };
    output("git", &["rev-parse", "--short=12", "HEAD"]) + more
}

fn node_libraries(installed: &Path) -> String {
    let version = |name: &str| {
        let manifest = fs::read(installed.join(format!("node/node_modules/{name}/package.json"))).unwrap_or_default();
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap_or_default();
        format!("{name} {}", manifest["version"].as_str().unwrap_or("?"))
    };
    let names = ["@upstash/qstash", "@aws-lambda-powertools/idempotency", "@aws-sdk/client-dynamodb", "esbuild"];
    names.map(version).join(", ")
}

fn python_libraries(installed: &Path) -> String {
    let read = |name: &str| fs::read_to_string(installed.join(format!("python/{name}"))).unwrap_or_default();
    let pinned = read("requirements.txt") + &read("requirements-runtime.txt");
    let told = ["qstash", "aws-lambda-powertools", "boto3", "awslambdaric"];
    let lines = pinned.lines().filter_map(|line| line.split_once("=="));
    let lines = lines.filter(|(name, _)| told.contains(name)).map(|(name, version)| format!("{name} {version}"));
    lines.collect::<Vec<_>>().join(", ")
}
