//! What the pages say: secrets stay out of arguments, versions are those that work, and terms are Upstash's.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const README: &str = include_str!("../../../README.md");

/// Returns the name and text of the README and of every page.
fn pages() -> Vec<(String, String)> {
    let repository = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let pages = fs::read_dir(repository.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let all = pages.chain([repository.join("README.md")]);
    all.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// Arguments are visible to every process of a machine, and a typed value stays in the shell's history.
#[test]
fn no_page_passes_a_secret_as_an_argument() {
    for (page, text) in pages() {
        for line in text.lines() {
            for option in ["--value ", "--secret-string "] {
                for (_, value) in line.match_indices(option).map(|(at, _)| line.split_at(at + option.len())) {
                    assert!(value.starts_with("file:///dev/stdin"), "{page}: {line}");
                }
            }
            // The development server's token is in the documentation, so it is no secret.
            let is_secret = line.contains("Bearer $") && page != "qstash-server.md";
            assert!(!is_secret || line.contains("-H @-"), "{page}: {line}");
        }
    }
}

/// Writes a stand-in for the AWS command line, which prints its arguments and, for `file:///dev/stdin`, what it reads there.
fn stand_in(folder: &Path) {
    let script = "#!/bin/sh\necho \"arguments: $*\"\nprintf 'value: '\ncat\necho\n";
    let path = folder.join("aws");
    fs::write(&path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs shell code with the stand-in before everything else.
fn shell(code: &str, input: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    stand_in(folder.path());
    let code = format!("PATH=\"{}:$PATH\"\n{code}", folder.path().display());
    let mut child = Command::new("bash")
        .args(["-c", &code])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Returns the definition of `put` on a page: two lines, without their indentation.
fn put(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.starts_with("put() {")).unwrap();
    lines[at..at + 2].join("\n")
}

#[test]
fn put_hands_a_secret_to_aws_on_standard_input() {
    for (page, text) in pages().into_iter().filter(|(_, text)| text.contains("put() {")) {
        let secret = r#" a "quoted" \ $value; with spaces "#;
        let ran = shell(&format!("{}\nput qstash-token", put(&text)), &format!("{secret}\n"));
        let out = String::from_utf8(ran.stdout).unwrap();
        let (arguments, value) = out.split_once('\n').unwrap();
        assert!(arguments.contains("--name /surehook/qstash-token --value file:///dev/stdin"), "{page}: {arguments}");
        assert_eq!(value, format!("value: {secret}\n"), "{page}");
        assert!(!String::from_utf8(ran.stderr).unwrap().contains("quoted"), "{page}");
    }
}

/// Upstash calls topics URL groups, so a reader of its pages looks for that word.
#[test]
fn every_page_about_topics_says_url_group() {
    for (page, text) in pages() {
        let is_about_topics = text.contains("topic");
        assert!(!is_about_topics || text.contains("URL group"), "{page}");
    }
}

#[test]
fn the_readme_requires_the_versions_that_work() {
    for required in ["\"aws-sam-cli>=1.156\"", "\"cargo-lambda>=1.9.2\""] {
        assert!(README.contains(required), "{required}");
    }
}

/// The commands of the README's section "Operations".
fn operations() -> Vec<Vec<String>> {
    let (_, section) = README.split_once("\n## Operations\n").unwrap();
    let (block, _) = section.split_once("Each of these commands").unwrap();
    let lines = block.lines().filter_map(|line| line.trim().strip_prefix("surehook "));
    // What follows the names of a command is in capitals, an option or a comment.
    let is_name =
        |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !word.starts_with('-');
    lines.map(|line| line.split_whitespace().take_while(is_name).map(str::to_owned).collect()).collect()
}

#[test]
fn each_command_of_operations_has_json() {
    let commands = operations();
    assert!(commands.len() >= 10, "{commands:?}");
    for mut command in commands {
        // An argument that looks like a name, such as a source.
        command.retain(|word| word != "github");
        let help =
            Command::new(env!("CARGO_BIN_EXE_surehook-under-test")).args(&command).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(help.contains("--json"), "{command:?}: {help}");
    }
}
