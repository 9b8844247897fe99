//! A dumb ZooKeeper: one map of paths, executed one command after the other in zxid order.
//! It shares no code with the server's executor, tree or checks; slow and plain on purpose.
//! Fed from the ledger; the properties compare it with what clients saw.

mod node;
mod timeline;
mod write;

pub(crate) use node::{Node, world};
pub(crate) use timeline::{Fired, FiredKind, Span, Timeline};

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::{Command, Operation};
use volery_proto::ids::{PartitionId, ServerId, Zxid};
use volery_proto::jute::Writer;
use volery_server::core::oracle::{Destination, PartitionMap};

/// A live session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) epoch: Zxid,
    pub(crate) password: Bytes,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Fenced: an older incarnation's.
    Passed,
    /// The session's connection is closed without a reply.
    Moved,
    /// A (re-)open: whether it succeeded.
    Opened(bool),
    /// Answered with this.
    Answer { err: i32, body: Bytes },
}

/// The model's state.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) nodes: BTreeMap<String, Node>,
    pub(crate) sessions: BTreeMap<i64, Session>,
    /// Per front end: its incarnation, and the number of its start.
    incarnations: BTreeMap<ServerId, (Zxid, u64)>,
    sequences: BTreeMap<(ServerId, u16), u64>,
    times: BTreeMap<PartitionId, i64>,
    map: Arc<PartitionMap>,
    pub(crate) timeline: Timeline,
}

impl Model {
    pub(crate) fn new(map: Arc<PartitionMap>) -> Model {
        let mut model = Model {
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            sequences: BTreeMap::new(),
            times: BTreeMap::new(),
            map,
            timeline: Timeline::default(),
        };
        for (path, children) in [
            ("/", vec!["zookeeper"]),
            ("/zookeeper", vec!["config", "quota"]),
            ("/zookeeper/config", vec![]),
            ("/zookeeper/quota", vec![]),
        ] {
            let node = Node::fresh(&children, path == "/zookeeper/config");
            model.timeline.record(Zxid::ZERO, path, Some(&node));
            model.nodes.insert(path.to_owned(), node);
        }
        model
    }

    /// The time of a command: no partition that it touches has delivered one with a later time.
    fn time(&mut self, destination: &Destination, given: i64) -> i64 {
        let addressed: Vec<PartitionId> = match destination {
            Destination::One(one) => vec![*one],
            Destination::Several(several) => several.clone(),
            Destination::All => Vec::new(),
        };
        let mut time = given;
        for partition in addressed {
            let last = self.times.entry(partition).or_insert(given);
            *last = given.max(*last);
            time = time.max(*last);
        }
        time
    }

    /// Executes one command.
    pub(crate) fn execute(&mut self, zxid: Zxid, command: &Command, time_ms: i64) -> Outcome {
        if command.operation == Operation::Hello {
            // Decided late, or twice.
            let server = command.origin.server;
            let known = self.incarnations.get(&server).map_or(0, |known| known.1);
            if command.origin.sequence > known {
                self.incarnations.insert(server, (zxid, command.origin.sequence));
                self.sequences.retain(|(of, _), _| *of != server);
            }
            return Outcome::Passed;
        }
        let server = command.origin.server;
        let known = self.incarnations.get(&server).map(|known| known.0);
        if known != Some(command.origin.incarnation) {
            return Outcome::Passed;
        }
        let last = self.sequences.entry((server, zxid.ring().0)).or_insert(0);
        if command.origin.sequence != *last + 1 {
            return Outcome::Passed;
        }
        *last += 1;
        let id = command.session.0;
        match &command.operation {
            Operation::Noop | Operation::Hello => Outcome::Passed,
            Operation::CreateSession { password, .. } => {
                let session = Session { epoch: zxid, password: password.clone() };
                self.sessions.insert(id, session);
                Outcome::Opened(true)
            }
            Operation::ReopenSession { password, .. } => match self.sessions.get_mut(&id) {
                Some(session) if session.password == password => {
                    session.epoch = zxid;
                    Outcome::Opened(true)
                }
                _ => Outcome::Opened(false),
            },
            Operation::CloseSession => {
                if self.sessions.get(&id).is_some_and(|s| s.epoch == command.epoch) {
                    self.end_session(zxid, id, time_ms);
                }
                Outcome::Answer { err: 0, body: Bytes::new() }
            }
            Operation::Sync(path) => {
                let mut w = Writer::new();
                w.ustring(path);
                Outcome::Answer { err: 0, body: w.finish() }
            }
            Operation::Write(request) => {
                match self.sessions.get(&id) {
                    _ if id == 0 => {}
                    None => return Outcome::Answer { err: -112, body: Bytes::new() },
                    Some(session) if session.epoch != command.epoch => return Outcome::Moved,
                    Some(_) => {}
                }
                let destination = self.map.destination(&command.operation);
                let time = self.time(&destination, time_ms);
                self.write(zxid, time, id, request)
            }
        }
    }

    fn end_session(&mut self, zxid: Zxid, id: i64, time_ms: i64) {
        self.sessions.remove(&id);
        for partition in self.map.clone().partitions() {
            self.time(&Destination::One(partition), time_ms);
        }
        let owned = self.nodes.iter().filter(|(_, node)| node.owner == id);
        let owned: Vec<String> = owned.map(|(path, _)| path.clone()).collect();
        for path in owned {
            self.remove(zxid, 0, &path);
        }
        self.timeline.seal(zxid, &self.nodes);
    }
}
