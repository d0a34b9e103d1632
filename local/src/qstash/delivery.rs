//! Carrying messages out: signed attempts, the retry schedule, and the end in delivery or the dead-letter queue.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use serde_json::json;
use surehook::{
    digest::Sha256,
    outside,
    qstash::{duration, lenient, token},
    retry::millis,
};
use tokio::time::sleep;

use super::{Answer, Dead, Message, Options, Server, State};

/// Headers whose values tell when to come again, in the order in which they count.
const WAIT_HEADERS: [&str; 4] =
    ["retry-after", "x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"];

/// A wait, and whether it is counted in QStash's time, which `--speed` makes faster, or in real time.
enum Wait {
    Own(Duration),
    Asked(Duration),
}

impl Server {
    /// Takes a message and delivers it in the background.
    pub(super) fn accept(self: &Arc<Self>, message: Message) {
        let delay = millis_to_duration(message.not_before - message.created_at);
        self.tell(&message, State::Created { delay });
        self.book().pending.insert(message.id.clone(), message.clone());
        self.busy.send_modify(|busy| *busy += 1);
        let server = Arc::clone(self);
        tokio::spawn(async move {
            server.carry_out(&message).await;
            server.book().pending.remove(&message.id);
            server.busy.send_modify(|busy| *busy -= 1);
        });
    }

    async fn carry_out(self: &Arc<Self>, message: &Message) {
        let delay = millis_to_duration(message.not_before - message.created_at);
        self.wait(&Wait::Own(delay)).await;
        for retried in 0..=message.options.retries {
            let answer = self.attempt(message, retried).await;
            if (200..300).contains(&answer.status) {
                return self.tell(message, State::Delivered { attempt: retried + 1 });
            }
            if is_final(&answer) || retried == message.options.retries {
                return self.give_up(message, answer, retried);
            }
            let wait = wait_after(&answer, retried + 1);
            let (Wait::Own(shown) | Wait::Asked(shown)) = wait;
            self.tell(message, State::Retry { status: answer.status, attempt: retried + 1, wait: shown });
            self.wait(&wait).await;
        }
    }

    async fn wait(&self, wait: &Wait) {
        match wait {
            Wait::Own(span) => sleep(span.div_f64(self.speed)).await,
            Wait::Asked(span) => sleep(*span).await,
        }
    }

    /// One attempt, when flow control and parallelism let it go.
    async fn attempt(self: &Arc<Self>, message: &Message, retried: u32) -> Answer {
        let _pass = match &message.options.flow {
            Some(control) => self.flows.enter(control, self.speed).await,
            None => None,
        };
        let _place = self.places.acquire().await;
        if self.book().faults.repeat_deliveries {
            return futures::join!(self.send(message, retried), self.send(message, retried)).0;
        }
        self.send(message, retried).await
    }

    async fn send(&self, message: &Message, retried: u32) -> Answer {
        let cut = self.book().faults.cut_deliveries;
        let Some(key) = self.signing_key().filter(|_| !cut) else {
            return Answer::default();
        };
        let now = outside::now() / 1_000;
        let signature = token::sign(&key, &message.url, &message.body, now, &outside::new_id());
        let method = Method::from_bytes(message.options.method.as_bytes()).unwrap_or(Method::POST);
        let mut request = self.http.request(method, &message.url).timeout(message.options.timeout);
        for (name, value) in &message.options.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes())) {
                request = request.header(name, value);
            }
        }
        request = request
            .header("user-agent", "Upstash-QStash")
            .header("upstash-signature", signature)
            .header("upstash-message-id", &message.id)
            .header("upstash-retried", retried)
            .header("upstash-caller-ip", &message.options.caller_ip)
            .header("upstash-region", "EU-CENTRAL-1");
        if let Some(topic) = &message.topic {
            request = request.header("upstash-topic-name", topic);
        }
        match request.body(message.body.clone()).send().await {
            Ok(response) => read(response).await,
            Err(_no_answer) => Answer::default(),
        }
    }

    fn give_up(self: &Arc<Self>, message: &Message, answer: Answer, retried: u32) {
        let dlq_id = format!("{}-{}", outside::now(), self.next_number());
        let callback = failure_callback(message, &answer, retried, &dlq_id);
        self.tell(message, State::Failed { status: answer.status });
        let faults = {
            let mut book = self.book();
            book.dlq.insert(dlq_id, Dead { message: message.clone(), answer });
            book.faults
        };
        let Some((url, options, body)) = callback.filter(|_| !faults.lose_callbacks) else {
            return;
        };
        for _ in 0..if faults.repeat_callbacks { 2 } else { 1 } {
            let now = outside::now();
            self.accept(Message {
                id: self.next_id(),
                url: url.clone(),
                topic: None,
                options: options.clone(),
                body: body.clone(),
                body_sha256: Sha256::of(&body).hex(),
                created_at: now,
                not_before: now,
                is_callback: true,
            });
        }
    }
}

async fn read(response: reqwest::Response) -> Answer {
    let status = response.status().as_u16();
    let mut headers = lenient::Headers::new();
    for (name, value) in response.headers() {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).or_default().push(text);
    }
    Answer { status, headers, body: response.bytes().await.unwrap_or_default() }
}

/// 489 counts only together with its header.
fn is_final(answer: &Answer) -> bool {
    let marked = lenient::header(&answer.headers, "upstash-nonretryable-error");
    answer.status == 489 && marked.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The wait after failed attempt number `attempt`: what the answer asks for, else `e^(2.5 n)` seconds.
fn wait_after(answer: &Answer, attempt: u32) -> Wait {
    let asked = WAIT_HEADERS.iter().find_map(|name| lenient::header(&answer.headers, name));
    match asked.and_then(|text| duration::parse_retry_after(text, outside::now())) {
        Some(span) => Wait::Asked(span),
        None => Wait::Own(duration::backoff(attempt)),
    }
}

/// The callback as a message of its own. Numbers stand where captures have numbers; `retried` is left out when it is 0.
fn failure_callback(
    message: &Message,
    answer: &Answer,
    retried: u32,
    dlq_id: &str,
) -> Option<(String, Options, Bytes)> {
    let url = message.options.failure_callback.clone()?;
    let source_header: lenient::Headers =
        message.options.headers.iter().map(|(name, value)| (name.clone(), vec![value.clone()])).collect();
    let mut body = json!({
        "status": answer.status,
        "header": answer.headers,
        "body": STANDARD.encode(&answer.body),
        "maxRetries": message.options.retries,
        "dlqId": dlq_id,
        "sourceMessageId": message.id,
        "url": message.url,
        "method": message.options.method,
        "sourceHeader": source_header,
        "sourceBody": STANDARD.encode(&message.body),
        "createdAt": message.created_at,
        "notBefore": message.not_before,
        "callerIP": message.options.caller_ip,
    });
    if retried > 0 {
        body["retried"] = retried.into();
    }
    if let Some(topic) = &message.topic {
        body["topicName"] = topic.clone().into();
    }
    let options = Options {
        method: "POST".to_owned(),
        retries: message.options.failure_retries.unwrap_or(message.options.retries),
        timeout: message.options.timeout,
        headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
        caller_ip: message.options.caller_ip.clone(),
        ..Options::default()
    };
    Some((url, options, body.to_string().into()))
}

fn millis_to_duration(span: surehook::Millis) -> Duration {
    Duration::from_millis(u64::try_from(span).unwrap_or_default())
}

/// When a message is due.
pub(super) fn not_before(options: &Options, now: surehook::Millis) -> surehook::Millis {
    options.not_before_s.map_or(now + millis(options.delay), |at| (at * 1_000).max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(attempt: u32) -> u64 {
        match wait_after(&Answer::default(), attempt) {
            Wait::Own(span) | Wait::Asked(span) => span.as_secs(),
        }
    }

    #[test]
    fn backoff_is_the_documented_one() {
        assert_eq!([1, 2, 3, 4, 5, 6].map(own), [12, 148, 1_808, 22_026, 86_400, 86_400]);
    }

    #[test]
    fn only_the_pair_is_final() {
        let header = [("Upstash-NonRetryable-Error".to_owned(), vec!["true".to_owned()])];
        let pair = Answer { status: 489, headers: header.clone().into(), body: Bytes::new() };
        assert!(is_final(&pair));
        assert!(!is_final(&Answer { headers: [].into(), ..pair.clone() }));
        assert!(!is_final(&Answer { status: 400, ..pair }));
    }
}
