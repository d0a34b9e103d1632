//! What can't start says why, and how to go on.

use surehook_local::{Stack, StackOptions};

use crate::support::{
    options,
    proxy::{Proxy, Verdict},
    surehook,
};

/// Runs `surehook routes show` with variables beside those of a stack that has no AWS settings, and returns its complaint.
async fn complaint(stack: &Stack, variables: &[(&str, &str)]) -> String {
    let mut command = surehook(stack, &["routes", "show"]);
    for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env_remove(name);
    }
    let command = command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", "/nonexistent");
    let output = command.envs(variables.iter().copied()).output().await.unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn no_credentials_no_region_a_missing_table_and_a_wrong_key_have_messages_of_their_own() {
    let stack = Stack::start(StackOptions { program: None, ..options() }).await.unwrap();
    let unknown_key =
        r#"{"__type":"com.amazonaws#UnrecognizedClientException","message":"The security token is invalid."}"#;
    let rejecting = Proxy::start(&stack.dynamo.url, move |_| Verdict::Answer(400, unknown_key));
    let region = ("AWS_REGION", "eu-west-1");
    let keys = [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s")];
    for (variables, message) in [
        (vec![region], "no AWS credentials were found; run `aws configure`, or set AWS_PROFILE"),
        (keys.to_vec(), "no AWS region is set; set AWS_REGION"),
        ([&keys[..], &[region, ("TABLE_NAME", "other")]].concat(), "the table does not exist in this region"),
        (
            [&keys[..], &[region, ("AWS_ENDPOINT_URL_DYNAMODB", rejecting.url.as_str())]].concat(),
            "AWS rejects the credentials (UnrecognizedClientException); run `aws sts get-caller-identity`",
        ),
    ] {
        let told = complaint(&stack, &variables).await;
        assert!(told.contains(message) && !told.contains("unavailable"), "{variables:?}: {told}");
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    }
}

#[tokio::test]
async fn a_function_without_its_configuration_names_every_variable() {
    let empty = ["TABLE_NAME", "QSTASH_CURRENT_SIGNING_KEY"].map(|name| (name.to_owned(), String::new()));
    let error = Stack::start(StackOptions { environment: empty.into(), ..options() }).await.unwrap_err().to_string();
    for part in ["consumer", "TABLE_NAME", "QSTASH_CURRENT_SIGNING_KEY"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[tokio::test]
async fn contradictory_configuration_is_refused() {
    let both = [("RETRY_LIST", "1m"), ("RETRY_BASE", "1h"), ("RETENTION_DAYS", "1")];
    let environment = both.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let error =
        Stack::start(StackOptions { environment: environment.into(), ..options() }).await.unwrap_err().to_string();
    assert!(error.contains("contradicts") && error.contains("RETENTION_DAYS"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_flag_that_changes_it() {
    let taken = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let qstash_port = taken.local_addr().unwrap().port();
    let error = Stack::start(StackOptions { qstash_port, ..options() }).await.unwrap_err().to_string();
    assert!(error.contains(&qstash_port.to_string()) && error.contains("--qstash-port"), "{error}");
}

#[tokio::test]
async fn a_folder_that_can_not_be_written_is_named() {
    let data = Some("/proc/surehook".into());
    let error = Stack::start(StackOptions { data, ..options() }).await.unwrap_err().to_string();
    assert!(error.contains("/proc/surehook") && error.contains("--data"), "{error}");
}

#[tokio::test]
async fn a_table_in_a_file_outlives_the_stack() {
    let folder = tempfile::tempdir().unwrap();
    let options = || StackOptions { data: Some(folder.path().to_owned()), program: None, ..options() };
    {
        let stack = Stack::start(options()).await.unwrap();
        crate::support::apply(&stack, "[[route]]\nname = \"a\"\nsource = \"strapi\"\nurl = \"https://a.example/\"")
            .await;
    }
    let stack = Stack::start(options()).await.unwrap();
    assert_eq!(stack.store().routes(true).await.unwrap().routes.len(), 1);
}
