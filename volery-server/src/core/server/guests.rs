//! The replica's side of attachments: front ends elsewhere whose clients read and watch here.
//! Each hears, in the order in which it happens here, the results of its own commands, events,
//! answers, and how far the replica is. It decides nothing for them, and keeps nothing of them
//! that is replicated. Part of the server machine. DESIGN section 7.

use std::collections::{BTreeMap, BTreeSet};

use volery_proto::command::Origin;
use volery_proto::ids::{Ballot, PartitionId, ServerId, Zxid};

use super::attach_message::{Attach, Attached, AttachmentId};
use super::message::PeerMessage;
use super::stream::Stream;
use super::{Server, find};
use crate::core::executor::{Client, CommandOutcome};
use crate::core::front_end::{Ask, AskRead, Told};
use crate::core::types::{ConnId, Now};
use crate::core::watch;

/// Bits of a connection's number that are its own server's; above stands the server, if it is
/// another one.
const CONN_BITS: u32 = 56;

/// A front end that is attached here.
#[derive(Debug)]
struct Guest {
    number: AttachmentId,
    /// Nothing is known before it says so.
    incarnation: Option<Zxid>,
    stream: Stream<Told>,
    /// Reads that cannot be run yet.
    waiting: Vec<AskRead>,
    /// Connections that may hold watches here.
    known: BTreeSet<ConnId>,
    wanted: Zxid,
    /// What it was told last.
    position: (Zxid, Zxid, Option<Ballot>),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Guests {
    of: BTreeMap<(PartitionId, ServerId), Guest>,
}

/// A connection of another server's.
fn abroad(server: ServerId, conn: ConnId) -> ConnId {
    ConnId(u64::from(server.0) << CONN_BITS | conn.0)
}

/// The server of a connection and its number there; `None`: it is one of this server's.
fn at_home(conn: ConnId) -> Option<(ServerId, ConnId)> {
    let server = (conn.0 >> CONN_BITS) as u8;
    (server != 0).then_some((ServerId(server), ConnId(conn.0 & ((1 << CONN_BITS) - 1))))
}

impl Server {
    /// A front end elsewhere says something.
    pub(super) fn guest(&mut self, from: ServerId, attach: Attach, now: Now) {
        let Attach { partition, number, batch } = attach;
        let key = (partition, from);
        let known = self.guests.of.get(&key).map(|guest| guest.number);
        if known != Some(number) {
            let older = known
                .is_some_and(|known| known.start == number.start && known.count > number.count);
            // It begins with its first word; a server that cannot serve its own clients yet
            // serves no others.
            let begins = batch.first == 0 && batch.seen == 0 && !older;
            let serves = self.front_end.serving() && find(&self.partitions, partition).is_some();
            if !begins || !serves {
                return self.send(from, PeerMessage::Detached { partition, number });
            }
            self.dismiss_one(key);
            self.guests.of.insert(key, Guest::new(number));
        }
        let Some(guest) = self.guests.of.get_mut(&key) else { return };
        let asks = guest.stream.take(batch, now.monotonic_us, self.config.cluster.resend_us);
        for ask in asks {
            if !self.asked(key, ask, now) {
                self.dismiss_one(key);
                return self.send(from, PeerMessage::Detached { partition, number });
            }
        }
    }

    /// Takes one word of a guest. False: it makes no sense.
    fn asked(&mut self, key: (PartitionId, ServerId), ask: Ask, now: Now) -> bool {
        let (partition, from) = key;
        let limit = Zxid::through(self.slot_limit(now));
        let Some(at) = find(&self.partitions, partition) else { return false };
        let Some(guest) = self.guests.of.get_mut(&key) else { return false };
        if guest.incarnation.is_none() != matches!(ask, Ask::Open { .. }) {
            return false;
        }
        match ask {
            Ask::Open { incarnation } => {
                guest.incarnation = Some(incarnation);
                let (_, own) = self.partitions[at].last_numbers(from, incarnation);
                guest.stream.say(Told::Began(own), 0);
            }
            Ask::Read(read) => {
                if read.frontier > limit || read.conn.0 >> CONN_BITS != 0 {
                    return false;
                }
                guest.known.insert(read.conn);
                guest.waiting.push(*read);
            }
            Ask::Identities { conn, identities } => {
                if guest.known.contains(&conn) {
                    self.partitions[at].set_identities(abroad(from, conn), identities);
                }
            }
            Ask::Gone(conn) => {
                guest.known.remove(&conn);
                guest.waiting.retain(|read| read.conn != conn);
                self.partitions[at].drop_connection(abroad(from, conn));
            }
            Ask::Want(zxid) => {
                if zxid > limit {
                    return false;
                }
                guest.wanted = guest.wanted.max(zxid);
            }
        }
        true
    }

    /// A front end is gone, and the watches of its connections with it.
    fn dismiss_one(&mut self, key: (PartitionId, ServerId)) {
        let Some(guest) = self.guests.of.remove(&key) else { return };
        if let Some(at) = find(&self.partitions, key.0) {
            for conn in guest.known {
                self.partitions[at].drop_connection(abroad(key.1, conn));
            }
        }
    }

    /// A front end says that it is not attached by this number.
    pub(super) fn dismiss_numbered(&mut self, key: (PartitionId, ServerId), number: AttachmentId) {
        if self.guests.of.get(&key).is_some_and(|guest| guest.number == number) {
            self.dismiss_one(key);
        }
    }

    /// So are all of a server that is silent.
    pub(super) fn dismiss(&mut self, server: ServerId) {
        let of_it = self.guests.of.keys().filter(|(_, guest)| *guest == server);
        for key in of_it.copied().collect::<Vec<_>>() {
            self.dismiss_one(key);
        }
    }

    /// A command was executed here: the front end that gave it may have no other way to know.
    pub(super) fn tell_executed(
        &mut self,
        at: usize,
        origin: Origin,
        zxid: Zxid,
        outcome: &CommandOutcome,
    ) {
        // Sessions and barriers are executed by every partition, and so where the front end is.
        let CommandOutcome::Write(reply) = outcome else { return };
        let key = (self.partitions[at].id(), origin.server);
        let Some(guest) = self.guests.of.get_mut(&key) else { return };
        if guest.incarnation == Some(origin.incarnation) {
            let (sequence, reply) = (origin.sequence, reply.clone());
            let weight = reply.as_ref().map_or(0, |body| body.len());
            guest.stream.say(Told::Executed { zxid, sequence, reply }, weight);
        }
    }

    /// A watch fired here. Whether it was one of a guest's connections.
    pub(super) fn tell_event(&mut self, at: usize, zxid: Zxid, event: &watch::Event) -> bool {
        let Some((server, conn)) = at_home(event.conn) else { return false };
        let partition = &self.partitions[at];
        let holds = partition.watches_for(event.conn);
        if let Some(guest) = self.guests.of.get_mut(&(partition.id(), server)) {
            let event = watch::Event { conn, ..event.clone() };
            let weight = event.path.len();
            guest.stream.say(Told::Event { zxid, event, holds }, weight);
        }
        true
    }

    /// Runs what guests have asked for, as far as it can be, and says all that there is to say.
    pub(super) fn serve_guests(&mut self, now: Now) {
        let resend_us = self.config.cluster.resend_us;
        let mut sends: Vec<(ServerId, PeerMessage)> = Vec::new();
        let mut full = Vec::new();
        for (&(id, server), guest) in &mut self.guests.of {
            let Some(at) = find(&self.partitions, id) else { continue };
            let partition = &mut self.partitions[at];
            let waiting = std::mem::take(&mut guest.waiting);
            let mut needed = guest.wanted;
            for read in waiting {
                let client = Client {
                    conn: abroad(server, read.conn),
                    session: read.session,
                    identities: &read.identities,
                    skip_acl: read.skip_acl,
                };
                match partition.ask(&client, &read.request, read.whole, read.frontier) {
                    Some(answer) => {
                        let (conn, ask, weight) = (read.conn, read.ask, answer.body.len());
                        guest.stream.say(Told::Answer { conn, ask, answer }, weight);
                    }
                    None => {
                        needed = needed.max(read.frontier);
                        guest.waiting.push(read);
                    }
                }
            }
            let (delivered, executed) = (partition.delivered(), partition.position());
            if executed < needed {
                self.demands.wait_for(0, needed.slot());
                self.demands.wait_for(usize::from(id.0), needed.slot());
            }
            let leader = self.rings[at + 1].leader();
            let position = (delivered, executed, leader);
            let wanted = guest.position.1 < guest.wanted || leader != guest.position.2;
            if position != guest.position && (wanted || guest.stream.has_news()) {
                guest.position = position;
                guest.stream.say(Told::Position { delivered, executed, leader }, 0);
            }
            while let Some(batch) = guest.stream.next(now.monotonic_us, resend_us) {
                let attached = Attached { partition: id, number: guest.number, batch };
                sends.push((server, PeerMessage::Attached(attached)));
            }
            if guest.stream.is_full() {
                full.push((id, server));
            }
        }
        full.into_iter().for_each(|key| self.dismiss_one(key));
        for (to, message) in sends {
            self.send(to, message);
        }
    }

    /// When `serve_guests` has something to do.
    pub(super) fn guests_deadline_us(&self) -> Option<u64> {
        self.guests.of.values().filter_map(|guest| guest.stream.deadline_us()).min()
    }
}

impl Guest {
    fn new(number: AttachmentId) -> Guest {
        Guest {
            number,
            incarnation: None,
            stream: Stream::new(),
            waiting: Vec::new(),
            known: BTreeSet::new(),
            wanted: Zxid::ZERO,
            position: (Zxid::ZERO, Zxid::ZERO, None),
        }
    }
}
