//! `surehook demo`: the main job, watched.
//!
//! Real Strapi webhooks are published the way Strapi sends them; the receiver refuses some, is down for a while, answers
//! too slowly, and rejects one for good; a worker is killed. [`scene`] is what goes wrong, [`watch`] the live picture,
//! [`account`] the proof that every event is accounted for.

mod account;
mod scene;
mod watch;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use surehook::{qstash::Client, secret::Secret, web::EndpointUrl};
use surehook_local::{
    Stack, StackOptions,
    qstash::TOKEN,
    strapi::{Capture, captures},
};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use crate::{Failure, routes, topics};
use account::Account;
pub(crate) use account::strapi_endpoint;
use scene::Scene;
use watch::Watcher;

const TOPIC: &str = "strapi.create";
/// The whole demo takes well under a minute; one that hangs says so.
const LONGEST: Duration = Duration::from_secs(240);

/// How to run the demo.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// How much faster QStash waits: at 600 an hour takes six seconds
    #[arg(long, default_value_t = 600.0, value_parser = crate::qstash::speed, allow_negative_numbers = true)]
    speed: f64,
}

pub(crate) async fn run(arguments: DemoArguments) -> Result<ExitCode, Failure> {
    tokio::select! {
        ended = timeout(LONGEST, play(arguments)) => match ended {
            Ok(result) => result,
            Err(_elapsed) => Err(format!("the demo did not settle within {} s", LONGEST.as_secs()).into()),
        },
        // Dropping the stack ends every process that it started.
        _ = tokio::signal::ctrl_c() => {
            println!("\nStopped.");
            Ok(ExitCode::from(130))
        }
    }
}

async fn play(arguments: DemoArguments) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    println!(
        "Surehook demo: {} webhooks captured from real Strapi servers; an hour takes {:.0} s.\n",
        captures().len(),
        3_600.0 / arguments.speed
    );
    println!("Starting DynamoDB, QStash, four functions (each in processes of its own) and a receiver …");
    let stack = Arc::new(Stack::start(options(arguments.speed)?).await?);
    prepare(&stack).await?;
    println!(
        "Topic {TOPIC} has two endpoints: our consumer, which delivers to the shop, and an API that is not ours.\n"
    );

    let scene = Scene::new(&stack);
    let watcher = Watcher::start(&stack, started);
    let captures = captures();
    publish(&stack, &scene, &watcher, &captures).await?;
    watcher.say("Every event is published. Now the retries, and the requeuer, do their work …");
    stack.qstash.idle().await;
    watcher.flush();

    println!("\nWhat became of each event:\n");
    let before = Account::take(&stack, &captures, &watcher.history()).await?;
    before.print();
    repair_and_replay(&stack, &scene, &watcher).await?;
    let after = Account::take(&stack, &captures, &watcher.history()).await?;
    let proven = after.verdict(&before);
    println!(
        "\n{:.0} s in all. Next: `cargo run -- dev` keeps this stack running for you.",
        started.elapsed().as_secs_f64()
    );
    Ok(if proven { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Short time limits, so that a crash heals while somebody watches.
fn options(speed: f64) -> Result<StackOptions, Failure> {
    Ok(StackOptions {
        program: Some(std::env::current_exe()?),
        speed,
        environment: vec![("HANDLER_TIMEOUT".to_owned(), "3s".to_owned())],
        ..StackOptions::default()
    })
}

async fn prepare(stack: &Stack) -> Result<(), Failure> {
    let document = format!(
        "[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"{}{}\"\ntimeout = \"2s\"\n",
        stack.receiver.url,
        scene::SHOP
    );
    routes::apply(&stack.store(), &document).await?;
    let consumer = EndpointUrl::parse(&stack.function_url("consumer/strapi"))?;
    let requeuer = EndpointUrl::parse(&stack.function_url("requeuer"))?;
    let other = format!("{}{}", stack.receiver.url, scene::OTHER);
    topics::connect(&qstash_client(&stack.qstash.url)?, TOPIC, &consumer, &[other], &requeuer).await
}

/// A client of the development stack's QStash.
pub(crate) fn qstash_client(url: &str) -> Result<Client, Failure> {
    let token = Secret::new(TOKEN).ok_or("the development token is empty")?;
    Ok(Client::new(Url::parse(url)?, token, Duration::from_secs(10))?)
}

/// Publishes as Strapi does: its own headers, a Bearer token, one connection. The shop is up, then down, then up again.
async fn publish(stack: &Stack, scene: &Scene, watcher: &Watcher, captures: &[Capture]) -> Result<(), Failure> {
    let client = reqwest::Client::builder().pool_max_idle_per_host(1).build()?;
    let (first, rest) = captures.split_at(scene::UP);
    let (second, third) = rest.split_at(scene::DOWN);
    watcher
        .say("The shop is up. It refuses every fourth event at first, is too slow for one, and rejects one for good.");
    send(&client, stack, first).await?;
    sleep(Duration::from_secs(1)).await;
    watcher.say("The shop goes down, for longer than QStash tries.");
    scene.take_down();
    send(&client, stack, second).await?;
    sleep(scene::OUTAGE).await;
    scene.bring_up();
    watcher.say("The shop is up again.");
    send(&client, stack, third).await
}

async fn send(client: &reqwest::Client, stack: &Stack, captures: &[Capture]) -> Result<(), Failure> {
    for capture in captures {
        let mut request = client.post(format!("{}/v2/publish/{TOPIC}", stack.qstash.url)).bearer_auth(TOKEN);
        for (name, value) in capture.own_headers() {
            request = request.header(name, value);
        }
        let response = request.body(capture.body.clone()).send().await?;
        if !response.status().is_success() {
            return Err(format!("QStash refused {}: {}", capture.name, response.text().await?).into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The operator's part: look at what was buried, mend the receiver, replay.
async fn repair_and_replay(stack: &Stack, scene: &Scene, watcher: &Watcher) -> Result<(), Failure> {
    let listed = invoke(stack, &json!({ "command": "list" })).await?;
    let letters = listed["listed"]["letters"].as_array().cloned().unwrap_or_default();
    println!("\nDead letters (of your own: `surehook dead-letters`):");
    for letter in &letters {
        let text = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
        println!(
            "  {}  {}  {}  {}",
            text("fingerprint"),
            text("eventType"),
            text("reason"),
            crate::text::short(&text("error"), 60)
        );
    }
    println!();
    scene.repair();
    watcher.say("The receiver is mended. Replaying every dead letter …");
    let replayed = invoke(stack, &json!({ "command": "replay", "selection": { "all": true } })).await?;
    if let Some(refused) = replayed["replayed"]["refused"].as_array().filter(|refused| !refused.is_empty()) {
        watcher.say(&format!("Not replayed: {refused:?}"));
    }
    stack.qstash.idle().await;
    watcher.flush();
    Ok(())
}

/// Invokes the DLQ processor, as an operator does.
async fn invoke(stack: &Stack, command: &Value) -> Result<Value, Failure> {
    let function = stack.function("dlq-processor").ok_or("the DLQ processor is not running")?;
    Ok(serde_json::from_slice(&function.invoke(command.to_string().into()).await?)?)
}
