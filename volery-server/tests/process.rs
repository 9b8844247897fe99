//! The server as a process: it starts, answers words and metrics, and stops when told to; a start
//! that fails says so once. Nothing sleeps: the lines of the log are what is waited for.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failed setup is a failed test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use volery_proto::jute::{Jute as _, Reader, Writer};
use volery_proto::zk::{
    Acl, AddWatchRequest, AuthPacket, ConnectRequest, CreateRequest, Id, PathRequest, ReplyHeader,
    Request, RequestHeader, SetDataRequest, perms,
};

/// For one read of a socket: only a server that hangs lets it pass.
const PATIENCE: Duration = Duration::from_secs(20);

fn command(dir: &Path, settings: &str) -> Command {
    let file = dir.join("zoo.cfg");
    let data = dir.join("data");
    let text = format!(
        "dataDir={}\nclientPort=0\nclientPortAddress=127.0.0.1\n{settings}\n",
        data.display()
    );
    std::fs::write(&file, text).expect("the configuration is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_volery-server"));
    command.arg(file).env_remove("VOLERY_LOG").env_remove("JVMFLAGS");
    command.env_remove("SERVER_JVMFLAGS").stderr(Stdio::piped()).stdout(Stdio::null());
    command
}

/// A running server; it is killed if a test fails.
struct Server {
    child: Child,
    log: BufReader<ChildStderr>,
    port: u16,
}

impl Server {
    /// Returns once clients are served.
    fn start(dir: &Path, settings: &str) -> Server {
        let mut child = command(dir, settings).spawn().expect("the binary runs");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let mut server = Server { child, log, port: 0 };
        let line = server.wait_for("serving clients");
        let address = line.split_once("address=127.0.0.1:").expect("an address").1;
        let digits = address.split(' ').next().expect("a port");
        server.port = digits.parse().expect("a port is a number");
        server
    }

    /// Reads the log up to a line with these words.
    fn wait_for(&mut self, words: &str) -> String {
        let mut all = String::new();
        loop {
            let begin = all.len();
            let read = self.log.read_line(&mut all).expect("the log is text");
            assert!(read > 0, "the log ended before {words:?}:\n{all}");
            if all[begin..].contains(words) {
                return all[begin..].to_owned();
            }
        }
    }

    fn word(&self, word: &[u8]) -> String {
        exchange(self.port, word)
    }

    fn stop(mut self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("it runs");
        self.wait_for("SIGTERM: stopping");
        self.wait_for("stopped");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends bytes, and reads until the server closes.
fn exchange(port: u16, request: &[u8]) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(request).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes in order");
    answer
}

/// A client of the wire protocol.
struct Client(TcpStream);

impl Client {
    /// Opens a session.
    fn connect(port: u16) -> Client {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut client = Client(stream);
        let handshake = ConnectRequest {
            timeout_ms: 10_000,
            password: Some(Bytes::from_static(&[0; 16])),
            ..ConnectRequest::default()
        };
        let mut w = Writer::new();
        w.frame(|w| handshake.write(w));
        client.0.write_all(&w.finish()).expect("it reads");
        client.frame();
        client
    }

    fn frame(&mut self) -> Bytes {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("it answers");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).expect("a whole frame");
        frame.into()
    }

    /// Sends requests in one piece; their xids are 1, 2, ….
    fn send(&mut self, requests: &[Request]) {
        let mut w = Writer::new();
        for (xid, request) in (1..).zip(requests) {
            w.frame(|w| {
                RequestHeader { xid, opcode: request.opcode() as i32 }.write(w);
                request.write_body(w);
            });
        }
        self.0.write_all(&w.finish()).expect("it reads");
    }

    /// The next reply or event: its xid and error.
    fn next(&mut self) -> (i32, i32) {
        let header = ReplyHeader::read(&mut Reader::new(self.frame())).expect("a header");
        (header.xid, header.err)
    }

    /// One request, which succeeds, and is answered before anything else is told.
    fn call(&mut self, request: Request) {
        self.send(&[request]);
        assert_eq!(self.next(), (1, 0));
    }
}

fn sync(path: &str) -> Request {
    Request::Sync(PathRequest { path: path.into() })
}

fn value<'a>(mntr: &'a str, key: &str) -> &'a str {
    let line = mntr.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
    line.unwrap_or_else(|| panic!("no {key} in\n{mntr}"))
}

#[test]
fn words_and_metrics_are_answered_until_sigterm() {
    let dir = tempfile::tempdir().expect("a directory");
    // Port 0 turns the endpoint off, so a free one is looked for.
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let metrics = probe.local_addr().expect("bound").port();
    drop(probe);
    let settings = format!(
        "4lw.commands.whitelist=*\npartitions=3\nmetricsProvider.httpHost=127.0.0.1\n\
         metricsProvider.httpPort={metrics}"
    );
    let server = Server::start(dir.path(), &settings);
    assert_eq!(server.word(b"ruok"), "imok");
    let srvr = server.word(b"srvr");
    // The word is a packet itself, as in ZooKeeper.
    assert!(srvr.contains("\nReceived: 2\nSent: 0\nConnections: 1\n"), "{srvr}");
    assert_eq!(server.word(b"stmk\0\0\0\0\0\0\0\x01"), "306");
    let cons = server.word(b"cons");
    assert!(cons.contains("[0](queued=0,recved=1,sent=0)"), "{cons}");

    let mntr = server.word(b"mntr");
    for (key, expected) in [
        ("zk_server_state", "standalone"),
        ("zk_packets_received", "5"),
        ("zk_bytes_received_count", "28"),
        ("zk_volery_partitions", "3"),
        ("zk_cnt_dbinittime", "1"),
        ("zk_volery_ring_batched_commands", "1"),
    ] {
        assert_eq!(value(&mntr, key), expected, "{key}");
    }
    for key in ["zk_open_file_descriptor_count", "zk_cnt_fsynctime", "zk_volery_log_bytes"] {
        assert_ne!(value(&mntr, key), "0", "{key}");
    }
    let text = exchange(metrics, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    for line in ["packets_received 5", "volery_partitions 3", "fsynctime_count 1"] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in\n{text}");
    }
    server.stop();
}

#[test]
fn a_restart_reads_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = "metricsProvider.httpPort=0\ndurability=async";
    Server::start(dir.path(), settings).stop();
    let mut child = command(dir.path(), settings).spawn().expect("the binary runs");
    let log = BufReader::new(child.stderr.take().expect("piped"));
    let mut server = Server { child, log, port: 0 };
    server.wait_for("durability=async");
    let line = server.wait_for("state complete");
    assert!(line.contains("commands=1"), "{line}");
    server.wait_for("serving clients");
    server.stop();
}

#[test]
fn a_taken_metrics_port_is_told_once_with_a_way_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let settings = format!("metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort={port}");
    for level in ["info", "off"] {
        let settings = format!("{settings}\nlog.level={level}");
        let output = command(dir.path(), &settings).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1));
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(log.matches(&format!("cannot listen on 127.0.0.1:{port}")).count(), 1, "{log}");
        assert_eq!(log.matches("os error").count(), 1, "{log}");
        assert_eq!(log.matches("metricsProvider.httpPort=0 turns").count(), 1, "{log}");
    }
    assert!(!dir.path().join("data").exists(), "nothing was touched");
}

#[test]
fn a_wrong_configuration_is_exit_code_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = command(dir.path(), "tickTime=x").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("volery-server: "));
}

/// Goal: with skipACL events go to whoever watches, as data does; without it they are filtered.
#[test]
fn skip_acl_holds_for_events_too() {
    for (skip, told) in [("no", false), ("yes", true)] {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = format!("metricsProvider.httpPort=0\nskipACL={skip}");
        let server = Server::start(dir.path(), &settings);
        let [mut owner, mut other] = [(); 2].map(|()| Client::connect(server.port));
        let auth = Some(Bytes::from_static(b"owner:secret"));
        let (path, scheme) = ("/private", "digest".into());
        owner.call(Request::Auth(AuthPacket { auth_type: 0, scheme, auth }));
        let acl = Acl { perms: perms::ALL, id: Id { scheme: "auth".into(), id: "".into() } };
        let (data, acl) = (None, vec![acl]);
        owner.call(Request::Create(CreateRequest { path: path.into(), data, acl, flags: 0 }));
        other.call(Request::AddWatch(AddWatchRequest { path: path.into(), mode: 0 }));
        let data = Some(Bytes::from_static(b"new"));
        owner.call(Request::SetData(SetDataRequest { path: path.into(), data, version: -1 }));
        // What the change leads to comes before the barrier's reply.
        other.send(&[sync(path)]);
        let xid = if told { -1 } else { 1 };
        assert_eq!(other.next(), (xid, 0), "skipACL={skip}");
        server.stop();
    }
}

/// Goal: clients that all send far more than `globalOutstandingLimit` allows at once are slowed,
/// and every one of them gets every answer, in order.
#[test]
fn a_crowd_of_requests_is_answered_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = "metricsProvider.httpPort=0\nglobalOutstandingLimit=1";
    let server = Server::start(dir.path(), settings);
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(server.port)).collect();
    let requests: Vec<Request> =
        (0..200).map(|n| if n % 8 == 0 { sync("/") } else { Request::Ping }).collect();
    for client in &mut clients {
        client.send(&requests);
        client.send(&requests);
    }
    for client in &mut clients {
        for xid in (1..=200).chain(1..=200) {
            assert_eq!(client.next(), (xid, 0));
        }
    }
    server.stop();
}

/// Goal: however many connections are refused, the log has a line about it once a second, and
/// the lines leave nobody out of the count.
#[test]
fn refused_connections_do_not_flood_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(dir.path(), "metricsProvider.httpPort=0\nmaxClientCnxns=1");
    let begun = Instant::now();
    let _served = Client::connect(server.port);
    for _ in 0..50 {
        // Refused by a reset or by the end, whichever comes first.
        let mut refused = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).expect("accepted");
        let _ = refused.read(&mut [0]);
    }
    let (mut lines, mut told) = (0, 0);
    while told < 50 {
        let line = server.wait_for("too many connections");
        lines += 1;
        told += u64::from(line.contains("limit=\"maxClientCnxns\""));
        let left_out = line.split_once("left_out=").expect("a count").1;
        let digits = left_out.split(|c: char| !c.is_ascii_digit()).next().expect("a number");
        told += digits.parse::<u64>().expect("a number");
    }
    assert_eq!(told, 50);
    assert!(lines <= 2 + begun.elapsed().as_secs(), "{lines} lines");
    server.stop();
}
