//! Connections: kept, replaced when they are dead, never used to send twice.

use std::sync::{Mutex, mpsc::channel};

use http::HeaderMap;
use surehook_consumer::{
    Consumer,
    deliver::{Deliverer, address::system_lookup, connect::Connections},
};
use surehook_local::Stack;

use crate::support::{
    apply,
    consumer::{consumer, incoming, moment},
    event,
    raw::{OK, RawServer},
    stack,
};

fn connections() -> Connections {
    Connections::new(true, system_lookup()).unwrap()
}

/// Posts, and reads the answer to its end, as a delivery does.
async fn post_to(connections: &Connections, url: &str) -> Result<u16, String> {
    let answer = connections.post(url, HeaderMap::new(), "{}".into()).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    answer.bytes().await.map_err(|error| error.to_string())?;
    Ok(status)
}

/// A consumer that delivers everything to a server.
async fn consumer_of(stack: &Stack, server: &RawServer) -> Consumer<Deliverer> {
    apply(stack, &format!("[[route]]\nname = \"raw\"\nsource = \"strapi\"\nurl = \"{}/\"\n", server.url)).await;
    consumer(stack, stack.store()).await
}

async fn outcome(consumer: &Consumer<Deliverer>, stack: &Stack, text: &str) -> &'static str {
    consumer.call(incoming(stack, &event(text)), moment()).await.outcome.word()
}

#[tokio::test]
async fn a_connection_serves_one_event_after_another() {
    let server = RawServer::start(|connection| match connection.number {
        0 => connection.serve(OK),
        _ => connection.serve("HTTP/1.1 500 another connection\r\ncontent-length: 0\r\n\r\n"),
    });
    let connections = connections();
    for _ in 0..5 {
        assert_eq!(post_to(&connections, &server.url).await, Ok(200));
    }
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn a_delivery_leaves_its_connection_ready_for_the_next() {
    let stack = stack().await;
    let server = RawServer::start(|connection| match connection.number {
        0 => connection.serve(OK),
        _ => connection.serve("HTTP/1.1 500 another connection\r\ncontent-length: 0\r\n\r\n"),
    });
    let consumer = consumer_of(&stack, &server).await;
    for n in 0..3 {
        assert_eq!(outcome(&consumer, &stack, &format!("kept {n}")).await, "processed");
    }
    assert_eq!(server.requests().len(), 3);
}

/// The environment is frozen after its answer, and the destination closes the connection meanwhile: the runtime of this test has
/// one thread, and that stands still. The next event comes by way of the ledger, and so not before the sockets were looked at.
#[tokio::test(flavor = "current_thread")]
async fn a_connection_that_died_in_a_freeze_is_replaced_and_the_request_is_sent_once() {
    let stack = stack().await;
    let (freeze, frozen) = channel();
    let frozen = Mutex::new(frozen);
    let server = RawServer::start(move |connection| match connection.number {
        0 => {
            connection.read();
            connection.write(OK);
            frozen.lock().unwrap().recv().unwrap();
        }
        _ => connection.serve(OK),
    });
    let consumer = consumer_of(&stack, &server).await;
    assert_eq!(outcome(&consumer, &stack, "before").await, "processed");
    freeze.send(()).unwrap();
    server.stand_still_until_it_closed_one();
    assert_eq!(outcome(&consumer, &stack, "after").await, "processed");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_request_that_was_sent_and_not_answered_is_not_sent_again() {
    let server = RawServer::start(|connection| match connection.number {
        0 => {
            connection.read();
            connection.write(OK);
            // The second request is read, and the connection closed without a word.
            connection.read();
        }
        _ => connection.serve(OK),
    });
    let connections = connections();
    assert_eq!(post_to(&connections, &server.url).await, Ok(200));
    assert!(post_to(&connections, &server.url).await.is_err());
    assert_eq!(server.requests().len(), 2, "the destination may have done its work: only QStash tries again");
}
