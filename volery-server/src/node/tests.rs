//! The order of a start, as a client sees it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client_port::PortEvent;
use crate::config::Flags;

/// A round trip over sockets of its own: whatever was ready before it began has been handled by
/// its end, as all share one thread.
async fn elsewhere() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let mut there = TcpStream::connect(listener.local_addr()?).await?;
    let (mut here, _) = listener.accept().await?;
    there.write_all(b"x").await?;
    here.read_exact(&mut [0]).await?;
    Ok(())
}

/// A node without a machine behind it: its address, and what comes to the drive thread.
fn node() -> (SocketAddr, Arc<Queue<Event>>, tokio::task::JoinHandle<anyhow::Result<()>>) {
    let text = b"dataDir=/nowhere\nclientPort=0\nclientPortAddress=127.0.0.1\n";
    let loaded = crate::config::parse(Some(("zoo.cfg", text)), &Flags::default());
    let config = Arc::new(loaded.expect("valid").config);
    let shared = Shared {
        clock: Clock::new(),
        queue: Arc::new(Queue::new()),
        metrics: Arc::new(Metrics::new().expect("metrics")),
        counts: Arc::new(PortCounts::default()),
    };
    let ports =
        Ports { clients: listen(&config).expect("a free port"), metrics: None, peers: None };
    let address = ports.clients.local_addr().expect("bound");
    let queue = shared.queue.clone();
    let node = tokio::spawn(async move {
        let (_drive, end) = oneshot::channel();
        serve(&config, ports, &shared, (mpsc::channel().0, mpsc::channel().0), end).await
    });
    (address, queue, node)
}

/// Waits until a client is accepted.
async fn accepted(queue: &Queue<Event>) {
    let mut events = Vec::new();
    let opened = async {
        loop {
            queue.take(&mut events, Some(Duration::ZERO));
            if events.iter().any(|e| matches!(e, Event::Port(PortEvent::Opened { .. }))) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), opened).await.expect("it is accepted");
}

/// Goal: a client that connects before the server can serve is not turned away: nobody accepts it
/// until the machine says that it serves, and then it is accepted.
#[tokio::test]
async fn clients_are_accepted_once_they_can_be_served() {
    let (address, queue, node) = node();
    let _client = TcpStream::connect(address).await.expect("it waits in the backlog");
    elsewhere().await.expect("sockets");
    let mut events = Vec::new();
    queue.take(&mut events, Some(Duration::ZERO));
    let tell = match events.pop() {
        Some(Event::WhenServing(tell)) if events.is_empty() => tell,
        last => panic!("accepted before it can be served: {events:?} {last:?}"),
    };
    tell.send(()).expect("the node waits for it");
    accepted(&queue).await;
    node.abort();
}

/// Goal: a server that waits long for others does not leave its clients in the backlog, where
/// nobody tells them to go elsewhere, nor operators without four-letter words.
#[tokio::test]
async fn clients_do_not_wait_for_long() {
    let (address, queue, node) = node();
    let _client = TcpStream::connect(address).await.expect("it waits in the backlog");
    let mut events = Vec::new();
    while events.is_empty() {
        queue.take(&mut events, Some(Duration::ZERO));
        tokio::task::yield_now().await;
    }
    // The question is kept: without it the node would take the machine for dead.
    assert!(matches!(events[..], [Event::WhenServing(_)]), "{events:?}");
    accepted(&queue).await;
    node.abort();
}

/// Goal: who stops a server while it takes over another one's snapshots gets exit code 0.
#[test]
fn a_stop_that_meets_a_start_anew_is_no_failure() {
    assert!(stopped(Ok(())).is_ok());
    assert!(stopped(Err(DriveError::Restart)).is_ok());
    assert!(stopped(Err(DriveError::Log(crate::storage::wal::AppendError::Closed))).is_err());
}
