//! Connections that are no servers of ours, or servers gone mad: closed, at no cost, and nobody
//! else notices.

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::hello::introduce;
use super::*;

/// Sends bytes; everything that comes back until the end.
async fn exchange(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    socket.write_all(bytes).await.expect("it reads");
    let mut answer = Vec::new();
    // Closed with bytes unread, a socket may be reset: that is an end as well.
    let _ = within(socket.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn garbage_is_closed_without_an_answer() {
    let mut options = options(2);
    options.limits.handshake = Duration::from_millis(300);
    let two = bind(options);
    let port = port_of(&two);
    let two = Server::start(two);
    let mut endless = hello(1, 2, Lane::Ring).encode();
    endless[12..16].copy_from_slice(&[255; 4]);
    let mut empty = hello(1, 2, Lane::Ring).encode();
    empty[12..16].copy_from_slice(&[0; 4]);
    let half = &hello(1, 2, Lane::Ring).encode()[..30];
    let http = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for bytes in [&http[..], &[0; 64], &endless, &empty] {
        assert_eq!(exchange(port, bytes).await, b"");
        two.trouble("is refused: what came is no handshake of Volery's").await;
    }
    // What stops in the middle is closed when its time is up, and says nothing.
    assert_eq!(exchange(port, half).await, b"");
    assert_eq!(exchange(port, b"").await, b"");
}

#[tokio::test]
async fn lengths_beyond_the_lane_end_the_link_alone() {
    let two = bind(options(2));
    let port = port_of(&two);
    let mut two = Server::start(two);
    let mut link = async |lane: Lane| {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        within(introduce(&mut socket, &hello(1, 2, lane))).await.expect("it is let in");
        assert_eq!(two.connected(lane, Way::In).await, 101);
        socket
    };
    let mut ring = link(Lane::Ring).await;
    for bytes in [[255; 4], [0; 4]] {
        let mut control = link(Lane::Control).await;
        control.write_all(&bytes).await.expect("it reads");
        let _ = within(control.read_to_end(&mut Vec::new())).await;
    }
    ring.write_all(&[0, 0, 0, 2, 9, 8]).await.expect("it reads");
    assert_eq!(two.frames(Lane::Ring, 1).await, [(9, Bytes::from_static(&[8]))]);
}

#[tokio::test]
async fn a_second_link_takes_the_place_of_the_first() {
    let two = bind(options(2));
    let port = port_of(&two);
    let mut two = Server::start(two);
    let link = async |nonce| {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        let hello = Hello { nonce, ..hello(1, 2, Lane::Ring) };
        within(introduce(&mut socket, &hello)).await.expect("it is let in");
        socket
    };
    let mut first = link(1).await;
    let mut second = link(2).await;
    assert_eq!(two.connected(Lane::Ring, Way::In).await, 1);
    assert_eq!(two.disconnected(Lane::Ring, Way::In).await, End::Replaced);
    assert_eq!(two.connected(Lane::Ring, Way::In).await, 2);
    assert!(matches!(within(first.read(&mut [0])).await, Ok(0) | Err(_)));
    second.write_all(&[0, 0, 0, 1, 3]).await.expect("it reads");
    assert_eq!(two.frames(Lane::Ring, 1).await, [(3, Bytes::new())]);
}
