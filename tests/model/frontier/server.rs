//! One server of the model: the real front end and the real replicas of both partitions, built
//! again from everything that it was ever given. What `core::server` does around them is done here
//! in the same order, without rings, logs and peers.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use volery_proto::command::{Command, CommandFlags, Operation, Value};
use volery_proto::ids::{Instance, RingId, ServerId, Slot, Zxid};
use volery_proto::zk::{ConnectRequest, Request};
use volery_server::core::executor::{CommandOutcome, Output, Partition};
use volery_server::core::front_end::{
    Attachments, ClientEffect, FrontEnd, FrontEndConfig, Handshake, Received, Replicas,
};
use volery_server::core::merge::skip::{Demands, SkipPolicy};
use volery_server::core::oracle::PartitionMap;
use volery_server::core::types::{ConnId, Now};

use super::{PARTITIONS, PATHS};

/// Every clock is above all slots: no reply waits for it.
const BEGIN: Now = Now { unix_us: Slot::EPOCH_UNIX_US + 1_000_000, monotonic_us: 0 };
/// After so long a partition that does not move is stale.
const STALE_US: u64 = 1000;

/// Who a server is, and how it is configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Me {
    pub(super) id: u8,
    pub(super) linearizable: bool,
}

/// What a server is given.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// It starts.
    Begin,
    /// It creates the znodes of the model.
    Create(Request),
    /// The next value of a ring.
    Decided(usize, Arc<Value>),
    Open(ConnId, ConnectRequest),
    Requests(ConnId, Vec<Received>),
    Closed(ConnId),
    /// Nothing, for so long that whoever is waited for is late.
    Late,
}

/// What an input led to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) proposals: Vec<(RingId, Command)>,
    pub(super) effects: Vec<ClientEffect>,
    /// Commands executed, and whether they took effect.
    pub(super) executed: Vec<(Zxid, bool)>,
}

/// A server as a state has it: all that it was given, and what stands for what it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Server {
    inputs: Vec<Input>,
    /// Values taken of each ring.
    pub(super) taken: [usize; PARTITIONS + 1],
    image: u64,
}

impl PartialEq for Server {
    fn eq(&self, other: &Server) -> bool {
        (self.taken, self.image) == (other.taken, other.image)
    }
}

impl Hash for Server {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.taken, self.image).hash(state);
    }
}

impl Server {
    /// Gives it one thing more.
    pub(super) fn give(&mut self, me: Me, map: &Arc<PartitionMap>, input: Input) -> Outcome {
        let mut living = Living::new(me, map.clone());
        let before = self.inputs.iter().cloned();
        before.for_each(|input| drop(living.take(input)));
        if let Input::Decided(ring, _) = &input {
            self.taken[*ring] += 1;
        }
        self.inputs.push(input.clone());
        let outcome = living.take(input);
        self.image = living.image();
        outcome
    }
}

struct Living {
    id: u8,
    map: Arc<PartitionMap>,
    front_end: FrontEnd,
    partitions: Vec<Partition>,
    demands: Demands,
    /// None: every partition is here.
    attachments: Attachments,
    taken: [usize; PARTITIONS + 1],
    conns: Vec<ConnId>,
    now: Now,
}

impl Living {
    fn new(Me { id, linearizable }: Me, map: Arc<PartitionMap>) -> Living {
        let config = FrontEndConfig {
            server: ServerId(id),
            min_timeout_ms: 1000,
            max_timeout_ms: 1000,
            tick_ms: 1000,
            digest_enabled: false,
            super_digest: None,
            flags: CommandFlags::default(),
            linearizable_reads: linearizable,
            stale_us: STALE_US,
            max_unsent: 1 << 20,
            max_events: 100,
        };
        let mut front_end = FrontEnd::new(config, PARTITIONS + 1, 1);
        front_end.share_sessions(0);
        let partitions = map.partitions().map(|p| Partition::new(p, map.clone(), 7)).collect();
        let demands = Demands::new(SkipPolicy::default(), PARTITIONS as u16);
        let taken = [0; PARTITIONS + 1];
        Living {
            id,
            map,
            front_end,
            partitions,
            attachments: Attachments::default(),
            demands,
            taken,
            conns: Vec::new(),
            now: BEGIN,
        }
    }

    fn take(&mut self, input: Input) -> Outcome {
        let mut outcome = Outcome::default();
        match input {
            Input::Begin => self.front_end.begin(0, self.now),
            Input::Create(request) => {
                let ring = self.map.destination_of_write(&request).ring();
                self.front_end.propose_own(ring, Operation::Write(request));
            }
            Input::Decided(ring, value) => self.decided(ring, &value, &mut outcome),
            Input::Open(conn, request) => {
                let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
                let handshake = Handshake { request, entropy: [1; 16] };
                self.conns.push(conn);
                self.front_end.opened(conn, peer, self.now);
                self.front_end.handshake(conn, handshake, Zxid::through(Slot::MAX), self.now);
            }
            Input::Requests(conn, requests) => self.front_end.requests(conn, requests, self.now),
            Input::Closed(conn) => {
                let mut replicas = Replicas::new(
                    &mut self.partitions,
                    &mut self.attachments,
                    &self.map,
                    &mut self.demands,
                );
                self.front_end.closed(conn, &mut replicas);
            }
            Input::Late => self.now.monotonic_us += STALE_US,
        }
        let mut replicas = Replicas::new(
            &mut self.partitions,
            &mut self.attachments,
            &self.map,
            &mut self.demands,
        );
        outcome.effects = self.front_end.settle(&mut replicas, self.now);
        outcome.proposals = self.front_end.take_proposals();
        self.front_end.take_latencies();
        self.front_end.take_touched();
        outcome
    }

    fn decided(&mut self, ring: usize, value: &Arc<Value>, outcome: &mut Outcome) {
        let instance = Instance(self.taken[ring] as u64);
        self.taken[ring] += 1;
        let learners =
            if ring == 0 { &mut self.partitions[..] } else { &mut self.partitions[ring - 1..ring] };
        for partition in learners {
            let taken = partition.decided(RingId(ring as u16), instance, value);
            taken.expect("values come in order");
        }
        loop {
            let mut outputs = Vec::new();
            for partition in &mut self.partitions {
                partition.advance(&mut outputs).expect("no invariant is broken");
            }
            if outputs.is_empty() {
                return;
            }
            outputs.into_iter().for_each(|output| self.output(output, outcome));
        }
    }

    fn output(&mut self, output: Output, outcome: &mut Outcome) {
        match output {
            Output::Contribute { zxid, from, to, contribution } => {
                for to in to {
                    let replica = &mut self.partitions[usize::from(to.0) - 1];
                    replica.contribution(zxid, from, contribution.clone());
                }
            }
            Output::Executed { origin, ring, zxid, outcome: result } => {
                let effective = matches!(result, CommandOutcome::Write(Ok(_)));
                outcome.executed.push((zxid, effective));
                self.front_end.executed(origin, ring, zxid, result);
            }
            Output::Hello { origin, zxid } if origin.server.0 == self.id => {
                self.front_end.hello_executed(origin, zxid, self.now);
            }
            Output::Hello { .. } => {}
            Output::Event { zxid, event } => self.front_end.event(zxid, event),
            Output::SessionOpened { session, epoch, timeout_ms } => {
                self.front_end.session_opened(session, epoch, timeout_ms, self.now);
            }
            Output::SessionEnded { session } => self.front_end.session_ended(session),
        }
    }

    /// Stands for all that it is.
    fn image(&self) -> u64 {
        let mut text = format!("{:?}", self.front_end);
        for p in &self.partitions {
            let watches = self
                .conns
                .iter()
                .flat_map(|conn| PATHS.iter().map(|path| u8::from(p.has_watch(*conn, path, 3))));
            let watches: Vec<u8> = watches.collect();
            let (cursors, at) = (p.cursors(), (p.delivered(), p.position()));
            text += &format!("{cursors:?} {at:?} {:x} {watches:?}", p.digest());
        }
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    }
}

/// Cuts what a server sent into frames.
pub(super) fn frames(mut bytes: BytesMut) -> Vec<bytes::Bytes> {
    let mut frames = Vec::new();
    while let Some(head) = bytes.first_chunk::<4>() {
        let length = u32::from_be_bytes(*head) as usize;
        frames.push(bytes.split_to(4 + length).freeze().slice(4..));
    }
    frames
}
