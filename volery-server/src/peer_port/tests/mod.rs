//! Peer ports on real sockets of this machine. Every test waits for events, never for time to
//! pass; a test that hangs fails by its own limit.

mod hostile;
mod links;
mod refusals;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hello::Hello;
use super::*;

/// Longer than anything here takes.
const LIMIT: Duration = Duration::from_secs(20);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it takes too long")
}

struct ToTest(mpsc::UnboundedSender<PeerEvent>);

impl Core for ToTest {
    fn event(&self, event: PeerEvent) {
        // A test that has seen enough no longer listens.
        let _ = self.0.send(event);
    }
}

/// Options of server `me` among servers 1, 2 and 3 of one cluster.
fn options(me: u8) -> PeerPortOptions {
    let peers = [1, 2, 3].into_iter().filter(|id| *id != me);
    PeerPortOptions {
        me: ServerId(me),
        nonce: 100 + u64::from(me),
        cluster: 7,
        map: MapFingerprint { version: 1, text: "partitions=4\nspread=/*\n".to_owned() },
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        // Nobody listens there: a test puts in who is to be dialed.
        peers: peers.map(|id| (ServerId(id), ("127.0.0.1".to_owned(), 1))).collect(),
        tls: None,
        keep_alive: true,
        limits: PeerLimits::default(),
    }
}

/// A port that has its address and is not running yet.
fn bind(options: PeerPortOptions) -> PeerPort {
    PeerPort::bind(options).expect("a free port")
}

/// Tells `from` where `to` is to be found.
fn direct(from: &mut PeerPort, to: u8, port: u16) {
    let shared = Arc::get_mut(&mut from.shared).expect("it is not running yet");
    shared.options.peers.insert(ServerId(to), ("127.0.0.1".to_owned(), port));
}

fn port_of(port: &PeerPort) -> u16 {
    port.local_addr().expect("it is bound").port()
}

/// A running server.
struct Server {
    handle: PeerHandle,
    events: mpsc::UnboundedReceiver<PeerEvent>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    fn start(port: PeerPort) -> Server {
        let (sender, events) = mpsc::unbounded_channel();
        let (handle, stop) = (port.handle(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tasks.spawn(port.run(Arc::new(ToTest(sender)), stop.clone(), tasks.clone()));
        Server { handle, events, stop, tasks }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        within(self.tasks.wait()).await;
    }

    /// The next event that `select` takes; others are dropped, with the credit in them.
    async fn wait<T>(&mut self, mut select: impl FnMut(PeerEvent) -> Option<T>) -> T {
        within(async {
            loop {
                let event = self.events.recv().await.expect("the port is running");
                if let Some(found) = select(event) {
                    return found;
                }
            }
        })
        .await
    }

    /// Waits for a link; the nonce of the peer.
    async fn connected(&mut self, lane: Lane, way: Way) -> u64 {
        self.wait(|event| match event {
            PeerEvent::Connected { lane: l, way: w, nonce, .. } if (l, w) == (lane, way) => {
                Some(nonce)
            }
            _ => None,
        })
        .await
    }

    /// Waits for the end of a link.
    async fn disconnected(&mut self, lane: Lane, way: Way) -> End {
        self.wait(|event| match event {
            PeerEvent::Disconnected { lane: l, way: w, reason, .. } if (l, w) == (lane, way) => {
                Some(reason)
            }
            _ => None,
        })
        .await
    }

    /// Waits for the links of all lanes, one way.
    async fn all_connected(&mut self, way: Way) {
        let mut there = Vec::new();
        while there.len() < Lane::ALL.len() {
            let lane = self.wait(|event| match event {
                PeerEvent::Connected { lane, way: w, .. } if w == way => Some(lane),
                _ => None,
            });
            there.push(lane.await);
        }
        there.sort();
        assert_eq!(there, Lane::ALL);
    }

    /// Waits for so many frames of a lane.
    async fn frames(&mut self, lane: Lane, count: usize) -> Vec<Frame> {
        let mut found = Vec::new();
        while found.len() < count {
            found.extend(
                self.wait(|event| match event {
                    PeerEvent::Frames { lane: l, frames, .. } if l == lane => Some(frames),
                    _ => None,
                })
                .await,
            );
        }
        found
    }

    /// Waits for a trouble that has these words in it.
    async fn trouble(&self, words: &str) -> String {
        let find = async {
            loop {
                let changed = self.handle.0.quiet.changed.notified();
                let troubles = self.handle.troubles();
                if let Some(found) = troubles.into_iter().find(|one| one.contains(words)) {
                    return found;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(LIMIT, find).await {
            Ok(found) => found,
            Err(_) => panic!("no trouble with {words:?} in {:?}", self.handle.troubles()),
        }
    }
}

/// Servers 1 and 2, each told of the other.
fn pair(first: PeerPortOptions, second: PeerPortOptions) -> (Server, Server) {
    let (mut first, mut second) = (bind(first), bind(second));
    let ports = (port_of(&first), port_of(&second));
    direct(&mut first, 2, ports.1);
    direct(&mut second, 1, ports.0);
    (Server::start(first), Server::start(second))
}

/// What server `sender` would say to `receiver`.
fn hello(sender: u8, receiver: u8, lane: Lane) -> Hello {
    Hello::of(&options(sender), ServerId(receiver), lane)
}
