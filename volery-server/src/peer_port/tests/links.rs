//! What links promise: order, an end that both sides hear of, bounds, and lanes that do not block
//! one another.

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::super::hello::Answer;
use super::*;

#[tokio::test]
async fn frames_arrive_in_order_on_all_lanes() {
    let (mut one, mut two) = pair(options(1), options(2));
    one.all_connected(Way::Out).await;
    two.all_connected(Way::Out).await;
    let frames = |lane: Lane| {
        // Small ones, and some beyond what is copied, cut and read at once.
        let sizes = [0, 1, 100, 5_000, 200_000].into_iter().cycle().take(200);
        let body = move |(n, size)| Bytes::from(vec![n as u8 ^ lane.index() as u8; size]);
        (0_usize..).zip(sizes).map(move |(n, size)| (n as u8, body((n, size))))
    };
    for lane in Lane::ALL {
        for (kind, body) in frames(lane) {
            assert!(one.handle.send(ServerId(2), lane, kind, body));
        }
    }
    let (mut found, mut left) = ([const { Vec::new() }; 3], 600);
    while left > 0 {
        let (lane, more) = two
            .wait(|event| match event {
                PeerEvent::Frames { peer, lane, frames, .. } => {
                    assert_eq!(peer, ServerId(1));
                    Some((lane, frames))
                }
                _ => None,
            })
            .await;
        left -= more.len();
        found[lane.index()].extend(more);
    }
    for lane in Lane::ALL {
        let expected: Vec<Frame> = frames(lane).collect();
        assert!(found[lane.index()] == expected, "{lane}");
    }
    assert_eq!((one.handle.connected().len(), one.handle.counts().frames_dropped.get()), (1, 0));
    let sent = one.handle.counts().bytes_sent.get();
    assert_eq!(sent, 3 * 40 * 205_101 + 600 * 5);
    assert_eq!(two.handle.counts().bytes_received.get(), sent);
    // Server 3 is not there: what is sent to it is dropped and counted.
    assert!(!one.handle.send(ServerId(3), Lane::Control, 1, Bytes::new()));
    assert!(!one.handle.send(ServerId(9), Lane::Control, 1, Bytes::new()));
    assert_eq!(one.handle.counts().frames_dropped.get(), 1);
    one.trouble("server 1 cannot connect to server 3 at 127.0.0.1:1: Connection refused").await;
}

#[tokio::test]
async fn a_peer_that_starts_anew_is_connected_again() {
    let (mut one, mut two) = (bind(options(1)), bind(options(2)));
    let ports = (port_of(&one), port_of(&two));
    direct(&mut one, 2, ports.1);
    direct(&mut two, 1, ports.0);
    let (mut one, two) = (Server::start(one), Server::start(two));
    assert_eq!(one.connected(Lane::Ring, Way::Out).await, 102);
    two.stop().await;
    let reason = one.disconnected(Lane::Ring, Way::Out).await;
    assert!(matches!(reason, End::Closed | End::Broken(_)), "{reason:?}");
    one.trouble("server 1 cannot connect to server 2").await;

    let listen = SocketAddr::from(([127, 0, 0, 1], ports.1));
    let mut two = bind(PeerPortOptions { nonce: 202, listen, ..options(2) });
    direct(&mut two, 1, ports.0);
    let mut two = Server::start(two);
    assert_eq!(one.connected(Lane::Ring, Way::Out).await, 202);
    assert!(one.handle.send(ServerId(2), Lane::Ring, 5, Bytes::from_static(b"again")));
    assert_eq!(two.frames(Lane::Ring, 1).await, [(5, Bytes::from_static(b"again"))]);
    assert!(one.handle.counts().reconnects.get() > 0);
    let about_two = |troubles: Vec<String>| troubles.iter().any(|words| words.contains("server 2"));
    assert!(!about_two(one.handle.troubles()));
}

/// Limits of a few kilobytes, so that they are reached.
fn narrow(mut options: PeerPortOptions, patience: Duration) -> PeerPortOptions {
    for lane in &mut options.limits.lanes {
        (lane.send_bytes, lane.receive_bytes, lane.patience) = (256 << 10, 64 << 10, patience);
    }
    options
}

const BODY: usize = 16 << 10;

/// Sends until there is no room: the sockets between are full as well.
async fn fill(server: &Server, lane: Lane) {
    for _ in 0..8192 {
        if !server.handle.send(ServerId(2), lane, 1, vec![0; BODY].into()) {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("128 MB went into a lane that nobody reads");
}

#[tokio::test]
async fn a_lane_that_is_not_read_holds_up_no_other() {
    let (mut one, mut two) = pair(narrow(options(1), LIMIT), narrow(options(2), LIMIT));
    one.all_connected(Way::Out).await;
    let mut held = Vec::new();
    fill(&one, Lane::Bulk).await;
    // The control and ring lanes run, both ways, while server 2 keeps all that came in bulk.
    for n in 0..50 {
        for lane in [Lane::Control, Lane::Ring] {
            assert!(one.handle.send(ServerId(2), lane, n, Bytes::from(vec![n; BODY])));
            let (frames, credit) = two
                .wait(|event| match event {
                    PeerEvent::Frames { lane: Lane::Bulk, frames, credit, .. } => {
                        held.push((frames, credit));
                        None
                    }
                    PeerEvent::Frames { lane: l, frames, credit, .. } if l == lane => {
                        Some((frames, credit))
                    }
                    _ => None,
                })
                .await;
            assert_eq!(frames[0].0, n);
            drop(credit);
        }
    }
    assert!(two.handle.send(ServerId(1), Lane::Bulk, 9, Bytes::from_static(b"back")));
    assert_eq!(one.frames(Lane::Bulk, 1).await[0].0, 9);
    // What server 2 was handed is bounded, and it is handed more once that is done with.
    let bodies = |held: &Vec<(Vec<Frame>, Credit)>| {
        held.iter().flat_map(|(frames, _)| frames).map(|(_, body)| body.len()).sum::<usize>()
    };
    assert!(bodies(&held) > 0 && bodies(&held) <= 64 << 10, "{}", bodies(&held));
    held.clear();
    two.frames(Lane::Bulk, 20).await;
}

/// Lets server 1 in as server 2, and never reads.
async fn deaf(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = within(listener.accept()).await.expect("a connection");
    let found = Hello::read(&mut socket).await.expect("a hello");
    assert_eq!((found.sender, found.receiver), (ServerId(1), ServerId(2)));
    let answer = Answer { server: ServerId(2), nonce: 5, refusal: None };
    socket.write_all(&answer.encode()).await.expect("a dialer");
    socket
}

/// Server 1, dialing a listener of the test's.
async fn dialing(patience: Duration) -> (Server, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut port = bind(narrow(options(1), patience));
    direct(&mut port, 2, listener.local_addr().expect("it is bound").port());
    (Server::start(port), listener)
}

#[tokio::test]
async fn a_full_control_lane_is_closed_and_made_again() {
    let (mut one, listener) = dialing(LIMIT).await;
    let mut sockets = Vec::new();
    for _ in Lane::ALL {
        sockets.push(deaf(&listener).await);
    }
    one.all_connected(Way::Out).await;
    fill(&one, Lane::Ring).await;
    fill(&one, Lane::Control).await;
    assert_eq!(one.disconnected(Lane::Control, Way::Out).await, End::Overflow);
    // The ring lane is full as well; that is its own affair.
    assert!(!one.handle.send(ServerId(2), Lane::Ring, 1, vec![0; BODY].into()));
    sockets.push(deaf(&listener).await);
    assert_eq!(one.connected(Lane::Control, Way::Out).await, 5);
    assert!(one.handle.send(ServerId(2), Lane::Control, 1, Bytes::new()));
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up() {
    let (mut one, listener) = dialing(Duration::from_millis(100)).await;
    let mut sockets = Vec::new();
    for _ in Lane::ALL {
        sockets.push(deaf(&listener).await);
    }
    one.all_connected(Way::Out).await;
    fill(&one, Lane::Ring).await;
    assert_eq!(one.disconnected(Lane::Ring, Way::Out).await, End::Stuck);
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_a_way_out() {
    let one = bind(options(1));
    let listen = one.local_addr().expect("it is bound");
    let error = PeerPort::bind(PeerPortOptions { listen, ..options(2) }).expect_err("taken");
    assert!(error.to_string().contains("another process has this port"), "{error}");
    let listen = SocketAddr::from(([203, 0, 113, 9], 2888));
    let error = PeerPort::bind(PeerPortOptions { listen, ..options(2) }).expect_err("elsewhere");
    assert!(error.to_string().contains("is not this machine"), "{error}");
}
