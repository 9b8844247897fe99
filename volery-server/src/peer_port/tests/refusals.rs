//! Servers that must not be let in: each reason, in the same words at both, and no harm done to
//! whoever belongs there.

use tokio::net::TcpStream;

use super::super::hello::{Answer, HelloError, introduce};
use super::*;

/// Server 1 is refused by server 2 with these words; both say so.
async fn refused(one: &Server, two: &Server, words: &str) {
    let said = one.trouble(&format!(": it refuses: {words}")).await;
    assert!(said.starts_with("server 1 cannot connect to server 2 at 127.0.0.1:"), "{said}");
    two.trouble(&format!("server 1 from 127.0.0.1 is refused: {words}")).await;
}

#[tokio::test]
async fn servers_of_another_cluster_are_refused() {
    let (one, two) = pair(PeerPortOptions { cluster: 8, ..options(1) }, options(2));
    refused(
        &one,
        &two,
        "server 1 is of cluster 0x0000000000000008, server 2 of 0x0000000000000007",
    )
    .await;
    assert_eq!((one.handle.connected().len(), two.handle.connected().len()), (0, 0));
}

#[tokio::test]
async fn servers_with_another_map_are_refused() {
    let map = |version, text: &str| MapFingerprint { version, text: text.to_owned() };
    let other = map(1, "partitions=8\nspread=/*\n");
    let (one, two) = pair(PeerPortOptions { map: other, ..options(1) }, options(2));
    let words = "servers 1 and 2 have different partition maps or placements: ";
    let lines = "only server 1 has \"partitions=8\"; only server 2 has \"partitions=4\"";
    refused(&one, &two, &format!("{words}{lines}")).await;
    let later = map(2, "partitions=4\nspread=/*\n");
    let (one, two) = pair(PeerPortOptions { map: later, ..options(1) }, options(2));
    refused(&one, &two, &format!("{words}version 2 against 1")).await;
    let long = map(1, &"spread=/a\n".repeat(10_000));
    let (one, two) = pair(PeerPortOptions { map: long, ..options(1) }, options(2));
    refused(&one, &two, &format!("{words}hash 0x")).await;
}

#[tokio::test]
async fn a_server_without_a_line_is_refused() {
    let mut narrow = options(2);
    narrow.peers.remove(&ServerId(1));
    let (mut one, two) = (bind(options(1)), bind(narrow));
    direct(&mut one, 2, port_of(&two));
    let (one, two) = (Server::start(one), Server::start(two));
    refused(&one, &two, "server 2 has no server line for server 1").await;
}

#[tokio::test]
async fn addresses_that_lead_elsewhere_are_refused() {
    let (mut one, three) = (bind(options(1)), bind(options(3)));
    direct(&mut one, 2, port_of(&three));
    let (one, three) = (Server::start(one), Server::start(three));
    refused(&one, &three, "server 1 wants server 2, but its address leads to server 3").await;

    let mut one = bind(options(1));
    let own = port_of(&one);
    direct(&mut one, 2, own);
    let one = Server::start(one);
    refused(&one, &one, "the address of server 2 in the server lines leads back to server 1").await;
}

#[tokio::test]
async fn two_servers_with_one_id_are_refused() {
    let (mut one, impostor) = (bind(options(1)), bind(PeerPortOptions { nonce: 9, ..options(1) }));
    direct(&mut one, 2, port_of(&impostor));
    let (one, impostor) = (Server::start(one), Server::start(impostor));
    refused(&one, &impostor, "two servers have the id 1: see to their myid files").await;
}

/// What a server answers to this hello.
async fn answer(port: u16, hello: &Hello) -> Result<u64, HelloError> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    within(introduce(&mut socket, hello)).await
}

#[tokio::test]
async fn versions_and_lanes_that_are_not_spoken_are_refused() {
    let two = bind(options(2));
    let port = port_of(&two);
    let two = Server::start(two);
    let good = hello(1, 2, Lane::Ring);
    let table = [
        (Hello { versions: (2, 9), ..good.clone() }, RefusalReason::Version),
        (Hello { versions: (0, 0), ..good.clone() }, RefusalReason::Version),
        (Hello { lane: 3, ..good.clone() }, RefusalReason::Lane),
        (Hello { cluster: 1, sender: ServerId(2), ..good.clone() }, RefusalReason::Cluster),
        (Hello { sender: ServerId(77), ..good.clone() }, RefusalReason::UnknownServer),
    ];
    for (hello, expected) in table {
        match answer(port, &hello).await {
            Err(HelloError::Refused(refusal)) => assert_eq!(refusal.reason, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    two.trouble("server 77 from 127.0.0.1 is refused: server 2 has no server line").await;
    // A later version that still speaks this one is let in, whatever it was told before.
    let later = Hello { versions: (1, 9), ..good };
    assert_eq!(answer(port, &later).await.ok(), Some(102));
    assert!(!two.handle.troubles().iter().any(|words| words.contains("server 1 from")));
}

#[tokio::test]
async fn what_is_said_is_read_back() {
    let (mut near, mut far) = tokio::io::duplex(1 << 16);
    let said = hello(3, 1, Lane::Bulk);
    tokio::io::AsyncWriteExt::write_all(&mut near, &said.encode()).await.expect("room");
    assert_eq!(Hello::read(&mut far).await.ok(), Some(said));
    let long = "ä".repeat(5000);
    for words in [String::new(), "why".to_owned(), long] {
        let refusal = Some(Refusal::new(RefusalReason::Map, words.as_str()));
        let said = Answer { server: ServerId(3), nonce: 4, refusal };
        tokio::io::AsyncWriteExt::write_all(&mut near, &said.encode()).await.expect("room");
        let read = Answer::read(&mut far).await.expect("an answer");
        let refusal = read.refusal.expect("a refusal");
        assert_eq!((read.server, refusal.reason), (ServerId(3), RefusalReason::Map));
        assert!(words.starts_with(&refusal.words) && refusal.words.len() >= words.len().min(4095));
    }
}
