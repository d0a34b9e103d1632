//! What builds and deploys: pinned actions, hashed packages, one list of stages, and roles within a boundary.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::{Value, json};
use surehook_tests::template::{FUNCTIONS, Template, each};

const OPERATIONS: &str = include_str!("../../../docs/operations.md");

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn text(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the paths of the files of a folder whose names end so.
fn files(folder: &str, end: &str) -> Vec<String> {
    let entries = fs::read_dir(repository().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(end)).map(|name| format!("{folder}/{name}")).collect()
}

fn is_hexadecimal(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns whether a line uses an action by its full commit hash, with the release as a comment for people and Dependabot.
fn is_pinned(line: &str) -> bool {
    let Some((_, reference)) = line.split_once('@') else { return false };
    let Some((commit, version)) = reference.split_once(" # v") else { return false };
    is_hexadecimal(commit, 40) && version.split('.').count() == 3
}

#[test]
fn actions_are_pinned_by_commit_hash() {
    assert!(!is_pinned("- uses: actions/checkout@v4"));
    assert!(!is_pinned("- uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"));
    let workflows = files(".github/workflows", ".yml");
    assert!(!workflows.is_empty());
    for path in workflows {
        let workflow = text(&path);
        let uses = workflow.lines().filter(|line| line.trim_start().trim_start_matches("- ").starts_with("uses:"));
        for line in uses {
            assert!(is_pinned(line), "{path}: pin it as owner/name@<40 hexadecimal digits> # vX.Y.Z: {line}");
        }
    }
    let dependabot = text(".github/dependabot.yml");
    for ecosystem in ["github-actions", "cargo", "uv"] {
        assert!(dependabot.contains(&format!("package-ecosystem: {ecosystem}\n")), "{ecosystem}");
    }
}

/// A package without a hash would be taken as the index serves it today.
#[test]
fn python_packages_are_locked_by_version_and_hash() {
    let wanted = files(".ci/requirements", ".in");
    assert!(!wanted.is_empty());
    for path in wanted {
        let locked = path.replace(".in", ".txt");
        let text = text(&locked).replace("\\\n", " ");
        let packages = text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.is_empty());
        for package in packages {
            let hashes: Vec<&str> = package.split("--hash=sha256:").skip(1).map(str::trim).collect();
            assert!(package.contains("=="), "{locked}: {package}");
            assert!(!hashes.is_empty() && hashes.iter().all(|hash| is_hexadecimal(hash, 64)), "{locked}: {package}");
        }
    }
}

/// The stages share one environment, so two versions of one package would replace each other.
#[test]
fn lists_of_python_packages_agree_on_what_they_share() {
    let mut versions = BTreeMap::<String, Vec<(String, BTreeSet<String>)>>::new();
    for path in files(".ci/requirements", ".txt") {
        let mut own = BTreeMap::<String, BTreeSet<String>>::new();
        for line in text(&path).lines().filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric())) {
            let (name, version) = line.split_once("==").unwrap_or_else(|| panic!("{path}: {line}"));
            own.entry(name.to_owned()).or_default().insert(version.split(' ').next().unwrap().to_owned());
        }
        for (name, found) in own {
            versions.entry(name).or_default().push((path.clone(), found));
        }
    }
    for (name, found) in versions {
        let (path, first) = &found[0];
        for (other, version) in &found {
            assert_eq!(first, version, "{name} in {path} and {other}");
        }
    }
}

/// Two lists of packages would drift apart, and one of them would have no hashes.
#[test]
fn every_script_installs_packages_by_hash_and_nowhere_else() {
    let scripts = fs::read_dir(repository().join(".ci")).unwrap().map(|entry| entry.unwrap().path());
    let scripts = scripts.filter(|path| path.is_file()).map(|path| path.display().to_string());
    let workflows =
        files(".github/workflows", ".yml").into_iter().map(|path| repository().join(path).display().to_string());
    let mut installing = Vec::new();
    for path in scripts.chain(workflows) {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| line.contains("pip install") || line.contains("pip\" install"));
        installing.extend(lines.map(|line| (path.clone(), line.trim().to_owned())));
    }
    let [(path, line)] = installing.as_slice() else { panic!("{installing:?}") };
    assert!(path.ends_with(".ci/parts"), "{path}");
    for option in ["--require-hashes", "--only-binary :all:"] {
        assert!(line.contains(option), "{line}");
    }
}

/// The SAM CLI builds Rust without the beta flag from 1.156 on.
#[test]
fn sam_is_new_enough_to_build_rust_without_a_beta_flag() {
    let locked = text(".ci/requirements/build.txt");
    let version = locked.lines().find_map(|line| line.strip_prefix("aws-sam-cli==")).unwrap();
    let minor: u32 = version.split(['.', ' ']).nth(1).unwrap().parse().unwrap();
    assert!(version.starts_with("1.") && minor >= 156, "{version}");
    assert!(!text("samconfig.toml").contains("beta"));
}

fn jobs() -> Value {
    fn json_of(yaml: &Yaml<'_>) -> Value {
        match yaml {
            Yaml::Mapping(map) => {
                map.iter().map(|(name, value)| (name.as_str().unwrap_or("on").to_owned(), json_of(value))).collect()
            }
            Yaml::Sequence(items) => items.iter().map(json_of).collect(),
            scalar => scalar.as_str().map_or(Value::Null, Value::from),
        }
    }
    json_of(&Yaml::load_from_str(&text(".github/workflows/deploy.yml")).unwrap()[0])["jobs"].take()
}

fn commands(job: &Value) -> Vec<String> {
    each(&job["steps"]).iter().filter_map(|step| step["run"].as_str().map(str::to_owned)).collect()
}

#[test]
fn the_hosted_workflow_runs_the_stages_of_ci_run() {
    let commands = commands(&jobs()["test"]);
    assert_eq!(commands, ["rustup show", ".ci/run"], "a second list of stages would drift apart");
}

/// The job can change the stack, so it runs nothing but what the runner has and what the attested archive brings.
#[test]
fn the_job_with_the_aws_role_installs_nothing_and_verifies_what_it_deploys() {
    let jobs = jobs();
    let with_role = |(_, job): &(&String, &Value)| job.to_string().contains("configure-aws-credentials");
    let holders: Vec<&String> = jobs.as_object().unwrap().iter().filter(with_role).map(|(name, _)| name).collect();
    assert_eq!(holders, ["deploy"]);
    let deploy = &jobs["deploy"];
    for command in commands(deploy) {
        for word in ["pip", "npm", "cargo", "apt-get", "curl", "rustup", ".ci/"] {
            assert!(!command.contains(word), "{command}");
        }
    }
    let steps: Vec<String> = each(&deploy["steps"]).iter().map(Value::to_string).collect();
    let at = |part: &str| steps.iter().position(|step| step.contains(part)).unwrap_or_else(|| panic!("no step {part}"));
    let order =
        ["download-artifact", "gh attestation verify", "tar xzf", "configure-aws-credentials", "sam deploy", "doctor"];
    assert!(order.map(at).is_sorted(), "{steps:?}");
    assert!(!steps.iter().any(|step| step.contains("actions/checkout")));
    let signs = |job: &str| jobs[job]["permissions"]["attestations"] == "write";
    assert!(
        signs("attest") && commands(&jobs["attest"]).is_empty(),
        "no code of ours or of a dependency runs where it signs"
    );
    assert!(!["test", "build", "deploy"].into_iter().any(signs));
}

#[test]
fn every_role_can_have_a_permissions_boundary() {
    let template = Template::load();
    let roles = template.resources_of("AWS::IAM::Role");
    assert_eq!(roles.len(), FUNCTIONS.len());
    let boundary =
        json!({ "!If": ["HasPermissionsBoundary", { "!Ref": "PermissionsBoundary" }, { "!Ref": "AWS::NoValue" }] });
    for (id, role) in roles {
        assert_eq!(role["Properties"]["PermissionsBoundary"], boundary, "{id}");
    }
    assert!(!template.holds("HasPermissionsBoundary", &[]), "none unless it is set");
}

/// Returns the statements of a policy that the documentation shows behind a sentence that begins so.
fn documented(name: &str) -> Vec<Value> {
    let (_, behind) =
        OPERATIONS.split_once(&format!("\n`{name}`")).unwrap_or_else(|| panic!("{name} is not documented"));
    let policy = behind.split("```").nth(1).unwrap().trim_start_matches("json");
    let policy: Value = serde_json::from_str(policy).unwrap_or_else(|error| panic!("{name}: {error}"));
    policy["Statement"].as_array().unwrap().clone()
}

fn actions(statements: &[Value]) -> BTreeSet<String> {
    let actions = statements.iter().flat_map(|statement| each(&statement["Action"]));
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// A function whose role exceeds the boundary would fail at its first call.
#[test]
fn the_documented_boundary_allows_what_the_roles_do_and_no_more() {
    let template = Template::load();
    let used: BTreeSet<String> = FUNCTIONS.iter().flat_map(|(_, id)| actions(&template.statements(id))).collect();
    assert_eq!(actions(&documented("boundary.json")), used);
}

#[test]
fn the_documented_deploy_role_makes_roles_with_the_boundary_only() {
    let bounded = "arn:aws:iam::ACCOUNT:policy/surehook-boundary";
    let condition = json!({ "StringEquals": { "iam:PermissionsBoundary": bounded } });
    for statement in documented("deploy.json") {
        let actions = actions(std::slice::from_ref(&statement));
        let widens =
            ["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary", "iam:*"];
        if widens.iter().any(|action| actions.contains(*action)) {
            assert_eq!(statement["Condition"], condition, "{statement}");
        }
        for never in ["iam:DeleteRolePermissionsBoundary", "iam:CreatePolicyVersion", "*"] {
            assert!(!actions.contains(never), "{statement}");
        }
    }
}

/// Each service of the template, besides those that SAM adds for the functions.
#[test]
fn the_documented_deploy_role_reaches_every_service_of_the_template() {
    let allowed = actions(&documented("deploy.json"));
    let template = Template::text();
    let services = template.lines().filter_map(|line| line.trim().strip_prefix("Type: AWS::")).map(|kind| {
        match kind.split("::").next().unwrap() {
            "Serverless" => "lambda".to_owned(),
            other => other.to_ascii_lowercase(),
        }
    });
    let of_sam = ["events", "sqs"].map(str::to_owned);
    for service in services.chain(of_sam) {
        assert!(allowed.iter().any(|action| action.starts_with(&format!("{service}:"))), "{service}");
    }
}

/// A resource that was renamed would be out of the role's reach, and the next deployment would fail.
#[test]
fn the_policies_name_resources_of_the_template() {
    let template = text("template.yaml");
    let is_resource = |id: &str| {
        let event = id.strip_prefix("DlqProcessor").filter(|event| !event.is_empty());
        template.contains(&format!("\n  {id}:\n"))
            || template.contains(&format!("QueueLogicalId: {id} "))
            || event.is_some_and(|event| template.contains(&format!("\n        {event}:\n          Type: Schedule")))
    };
    let named: BTreeSet<&str> = OPERATIONS
        .split("surehook-")
        .skip(1)
        .filter_map(|rest| rest.split_once("-*").map(|(id, _)| id))
        .filter(|id| id.starts_with(char::is_uppercase) && id.chars().all(char::is_alphanumeric))
        .collect();
    assert!(named.len() >= 8, "{named:?}");
    for id in named {
        assert!(is_resource(id), "template.yaml has no {id}");
    }
    assert!(!is_resource("ConsumersRole") && !is_resource("DlqProcessorSweeps"));
}
