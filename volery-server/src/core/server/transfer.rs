//! What a server fetches from others when its own memory does not suffice: contributions that no
//! replica here has, and, where it is too far behind, their snapshots. DESIGN sections 6, 8.
//! It carries no snapshot itself: disk and port do. Part of the server machine.
//!
//! Each partition's snapshot stands for itself: it is whole as of its own cursors, whichever server
//! it came from and whenever. What is received counts from the next start on, which comes when
//! nothing more is needed; a crash before that loses nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use std::sync::Arc;
use volery_proto::ids::{Instance, PartitionId, RingId, ServerId, Zxid};

use super::message::PeerMessage;
use super::peers::Peer;
use super::{Effect, Server, ServerError, find};
use crate::core::apply::Contribution;
use crate::core::executor::Partition;
use crate::core::mutation::mutated;
use crate::core::ring::Proposed;
use crate::core::types::Now;

/// A server that asked for snapshots asks again after so many resends.
const RESENDS_A_FETCH: u64 = 10;
/// A replica that lacks contributions asks for them so often in the time of a resend.
const PULLS_A_RESEND: u64 = 8;
/// After so many pulls that came to nothing snapshots are fetched.
const PULLS_A_FETCH: u64 = RESENDS_A_FETCH * PULLS_A_RESEND;

/// So often is asked for snapshots without a ring saying again that they are needed.
pub(super) const ASKED_MAX: u8 = 4;
/// A server that gets a snapshot may take so long to start anew, or to be reached again.
const SENDING_US: u64 = 60_000_000;
/// After a server's snapshot was of no use, nobody is asked for so many times the usual interval.
const FETCHES_A_REFUSAL: u64 = 5;

/// Who is asked for snapshots.
#[derive(Clone, Copy, Debug)]
struct Source {
    from: ServerId,
    /// How often, in vain so far.
    asked: u64,
    /// When to ask (again), once that is known.
    due_us: Option<u64>,
}

/// A partition whose snapshot is needed.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    /// How often it was asked for since a ring last said that it is needed.
    asked: u8,
    /// How far the replica was executed then.
    at: Zxid,
}

/// What is missing here, and who misses something of ours.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// Per partition: the command that it waits with, when others are asked, and how often they
    /// were.
    lacking: BTreeMap<PartitionId, (Zxid, u64, u64)>,
    wanted: BTreeMap<PartitionId, Wanted>,
    /// Those that are here, and count from the next start on.
    received: BTreeSet<PartitionId>,
    source: Option<Source>,
    /// For whom the log of a ring is being read.
    reading: BTreeSet<(RingId, ServerId)>,
    /// The log did not have what was asked for: until there are new snapshots it does not count,
    /// or a server would get an old one again and again, and never what is behind it.
    pub(super) log_failed: bool,
    /// Until then, monotonic microseconds, another server may go on with a snapshot of this one.
    pub(super) sending_until_us: Option<u64>,
    /// Who gets which snapshots once the running cycle is through.
    fetchers: BTreeMap<ServerId, BTreeSet<PartitionId>>,
}

impl Server {
    /// Hands a contribution on: to replicas here in memory, to other servers that have one of the
    /// addressed partitions and not this one. All replicas of this one say the same, so one is
    /// meant to say it; whoever hears nothing asks.
    pub(super) fn give(
        &mut self,
        zxid: Zxid,
        from: PartitionId,
        to: &[PartitionId],
        contribution: &Arc<Contribution>,
    ) {
        for at in to.iter().filter_map(|to| find(&self.partitions, *to)).collect::<Vec<_>>() {
            self.partitions[at].contribution(zxid, from, contribution.clone());
        }
        if !self.began || self.peers.alone() || mutated!(NeverGives) {
            return;
        }
        let cluster = &self.config.cluster;
        let lacks = |server: &ServerId| {
            !cluster.holds(*server, from) && to.iter().any(|to| cluster.holds(*server, *to))
        };
        let speakers: Vec<ServerId> =
            cluster.holders(from).filter(|server| self.peers.lives(*server)).collect();
        let others = cluster.servers().filter(lacks);
        let mine = others.filter(|other| {
            let turn =
                zxid.slot().0.wrapping_add(u64::from(other.0)) % speakers.len().max(1) as u64;
            speakers.get(turn as usize) == Some(&self.config.server)
        });
        let mine: Vec<ServerId> = mine.collect();
        if !mine.is_empty() {
            let contribution = contribution.encode();
            for to in mine {
                let (partition, contribution) = (from, contribution.clone());
                self.send(to, PeerMessage::Given { zxid, partition, contribution });
            }
        }
    }

    /// Asks for what replicas have lacked for a while.
    pub(super) fn fetch(&mut self, now: Now) {
        self.transfer.sending_until_us.take_if(|until| now.monotonic_us >= *until);
        let resend_us = self.config.cluster.resend_us;
        for at in 0..self.partitions.len() {
            let id = self.partitions[at].id();
            let lacks: Vec<_> = self.partitions[at].lacks().collect();
            let Some((oldest, _)) = lacks.first() else {
                self.transfer.lacking.remove(&id);
                continue;
            };
            let later = now.monotonic_us + resend_us / PULLS_A_RESEND;
            let entry = self.transfer.lacking.entry(id).or_insert((*oldest, later, 0));
            if entry.0 != *oldest {
                *entry = (*oldest, later, 0);
            } else if now.monotonic_us >= entry.1 || mutated!(EarlyAnswerAcross) {
                entry.1 = later;
                entry.2 += 1;
                let asked = entry.2;
                // Outboxes are trimmed below what a majority has behind it: whoever has not takes
                // snapshots that are past it.
                if asked.is_multiple_of(PULLS_A_FETCH)
                    && let Some(from) = self.holder(id, asked / PULLS_A_FETCH)
                {
                    self.needs_snapshots(from, vec![id]);
                }
                if !mutated!(NeverPulls) {
                    self.pull(&lacks, asked);
                }
            }
        }
        self.ask_for_snapshots(now);
    }

    /// One server has forgotten what a replica lacks, and another gives it from its log: who has
    /// come further since needs no snapshot, and must not start anew when one arrives.
    fn forget_who_has_moved(&mut self) {
        let (partitions, wanted) = (&self.partitions, &mut self.transfer.wanted);
        let before = wanted.len();
        wanted.retain(|id, wanted| {
            find(partitions, *id).is_none_or(|at| partitions[at].position() <= wanted.at)
        });
        if wanted.len() < before {
            self.start_anew();
        }
    }

    /// Asks for the snapshots that are needed, unless they are arriving.
    fn ask_for_snapshots(&mut self, now: Now) {
        self.forget_who_has_moved();
        let resend_us = self.config.cluster.resend_us;
        let Some(mut source) = self.transfer.source else { return };
        // The other rings will find out in a moment what they lack.
        let due_us = source.due_us.unwrap_or(now.monotonic_us + resend_us);
        source.due_us = Some(due_us);
        if now.monotonic_us >= due_us {
            // What no ring has lacked for long has come from a memory after all.
            let wanted = &mut self.transfer.wanted;
            wanted.values_mut().for_each(|wanted| wanted.asked += 1);
            wanted.retain(|_, wanted| wanted.asked <= ASKED_MAX);
            if wanted.is_empty() {
                self.transfer.source = None;
                return;
            }
            source.due_us = Some(now.monotonic_us + RESENDS_A_FETCH * resend_us);
            source.asked += 1;
            // A question may be lost with its link: the same server is asked twice.
            if source.asked > 1 && source.asked % 2 == 1 {
                source.from = self.next_source(source.from);
            }
            let received = &self.transfer.received;
            let lacking = self.transfer.wanted.keys().filter(|id| !received.contains(id));
            let lacking: Vec<PartitionId> = lacking.copied().collect();
            let mut questions: BTreeMap<ServerId, Vec<PartitionId>> = BTreeMap::new();
            for id in lacking {
                // Not every server has every partition.
                let has = self.config.cluster.holds(source.from, id);
                let from = Some(source.from).filter(|_| has);
                if let Some(from) = from.or_else(|| self.holder(id, source.asked)) {
                    questions.entry(from).or_default().push(id);
                }
            }
            for (from, partitions) in questions {
                self.send(from, PeerMessage::Fetch(partitions));
            }
        }
        self.transfer.source = Some(source);
    }

    /// The server to ask after this one; who is not heard comes last.
    fn next_source(&self, from: ServerId) -> ServerId {
        let wanted = |server: ServerId| {
            self.transfer.wanted.keys().any(|id| self.config.cluster.holds(server, *id))
        };
        let others: Vec<&Peer> =
            self.peers.others.iter().filter(|peer| peer.id == from || wanted(peer.id)).collect();
        let after = others.iter().position(|peer| peer.id == from).map_or(0, |at| at + 1);
        let turn = || others[after..].iter().chain(&others[..after]);
        turn().find(|peer| peer.is_heard()).or(turn().next()).map_or(from, |peer| peer.id)
    }

    /// A snapshot is on its way.
    pub(super) fn snapshots_arriving(&mut self, from: ServerId, now: Now) {
        self.front_end.snapshots_arriving(now);
        let due_us = now.monotonic_us + RESENDS_A_FETCH * self.config.cluster.resend_us;
        if let Some(source) = &mut self.transfer.source {
            *source = Source { from, asked: 0, due_us: Some(due_us) };
        }
    }

    /// Another server is getting a snapshot of this one.
    pub(super) fn snapshots_sending(&mut self, now: Now) {
        self.transfer.sending_until_us = Some(now.monotonic_us + SENDING_US);
    }

    /// It is there. It may turn out that it lacks what others have forgotten: then only the next
    /// one helps, which must not wait any longer. Whoever is getting another one says so again.
    pub(super) fn snapshot_sent(&mut self) {
        self.transfer.sending_until_us = None;
    }

    /// What a server sent is of no use.
    pub(super) fn snapshots_refused(&mut self, from: ServerId, now: Now) {
        let pause = FETCHES_A_REFUSAL * RESENDS_A_FETCH * self.config.cluster.resend_us;
        let next = self.next_source(from);
        if let Some(source) = &mut self.transfer.source {
            *source = Source { from: next, asked: 0, due_us: Some(now.monotonic_us + pause) };
        }
    }

    /// A snapshot is in its place.
    pub(super) fn snapshot_received(&mut self, partition: PartitionId) {
        self.transfer.received.insert(partition);
        self.forget_who_has_moved();
        self.start_anew();
    }

    /// Everything that was needed is there: the next start begins with it.
    fn start_anew(&mut self) {
        let Transfer { wanted, received, .. } = &self.transfer;
        if !wanted.is_empty() && wanted.keys().all(|id| received.contains(id)) {
            self.effects.push(Effect::Restart);
        }
    }

    /// Asks what partitions contribute: each time another of the servers that have them.
    fn pull(&mut self, lacks: &[(Zxid, Vec<PartitionId>)], asked: u64) {
        for (zxid, partitions) in lacks {
            let mut questions: BTreeMap<ServerId, Vec<PartitionId>> = BTreeMap::new();
            for partition in partitions {
                if let Some(to) = self.holder(*partition, asked) {
                    questions.entry(to).or_default().push(*partition);
                }
            }
            for (to, partitions) in questions {
                self.send(to, PeerMessage::Pull { zxid: *zxid, partitions });
            }
        }
    }

    /// One of the other servers that have a partition, by turns.
    fn holder(&self, partition: PartitionId, turn: u64) -> Option<ServerId> {
        let me = self.config.server;
        let others: Vec<ServerId> =
            self.config.cluster.holders(partition).filter(|server| *server != me).collect();
        let turn = turn.checked_rem(others.len() as u64)?;
        others.get(turn as usize).copied()
    }

    /// Another server lacks contributions: it gets what outboxes hold.
    pub(super) fn pulled(&mut self, from: ServerId, zxid: Zxid, partitions: &[PartitionId]) {
        for partition in partitions {
            let Some(at) = find(&self.partitions, *partition) else { continue };
            #[cfg_attr(not(feature = "mutants"), allow(unused_mut))]
            let mut given = self.partitions[at].contributed(zxid);
            #[cfg(feature = "mutants")]
            if given.is_none() && mutated!(EarlyAnswerAcross) {
                given = self.partitions[at].foresee(zxid);
            }
            if let Some(contribution) = given {
                let (partition, contribution) = (*partition, contribution.encode());
                self.send(from, PeerMessage::Given { zxid, partition, contribution });
            }
        }
    }

    /// A contribution arrives; all replicas of a partition say the same, so the first counts.
    pub(super) fn given(&mut self, zxid: Zxid, from: PartitionId, contribution: Bytes, now: Now) {
        // Nobody contributes to a command that is far from being ordered.
        if zxid.ring() != RingId::GLOBAL || zxid.slot() > self.slot_limit(now) {
            return;
        }
        let Ok(contribution) = Contribution::decode(contribution) else { return };
        let contribution = Arc::new(contribution);
        for replica in &mut self.partitions {
            if replica.id() != from {
                replica.contribution(zxid, from, contribution.clone());
            }
        }
    }

    /// A ring cannot catch up by values: somebody's snapshots are past what is missing.
    pub(super) fn cannot_catch_up(&mut self, at: usize, from: ServerId, instance: Instance) {
        let behind = |partition: &Partition| partition.cursors().0.instance < instance;
        let mut wanted: Vec<PartitionId> = match at.checked_sub(1) {
            Some(own) => vec![self.partitions[own].id()],
            None => self.partitions.iter().filter(|p| behind(p)).map(Partition::id).collect(),
        };
        // What nobody else has is in the logs: without its only server nothing was trimmed.
        wanted.retain(|partition| self.holder(*partition, 0).is_some());
        if !wanted.is_empty() {
            self.needs_snapshots(from, wanted);
        }
    }

    /// Values do not suffice: a ring cannot catch up by them, or contributions are gone.
    pub(super) fn needs_snapshots(&mut self, from: ServerId, partitions: Vec<PartitionId>) {
        for id in partitions {
            let at = find(&self.partitions, id).map(|at| self.partitions[at].position());
            let wanted = Wanted { asked: 0, at: at.unwrap_or_default() };
            self.transfer.wanted.insert(id, wanted);
        }
        self.transfer.source.get_or_insert(Source { from, asked: 0, due_us: None });
        self.start_anew();
    }

    /// A server lacks values that only the log holds. It asks again before they are read: one
    /// reading at a time.
    pub(super) fn read_log(&mut self, ring: RingId, to: ServerId, from: Instance) {
        if self.transfer.reading.insert((ring, to)) {
            let below_lsn = self.durable_lsn;
            self.effects.push(Effect::ReadLog { ring, from, to, below_lsn });
        }
    }

    /// They are read.
    pub(super) fn log_read(
        &mut self,
        ring: RingId,
        to: ServerId,
        values: Vec<Proposed>,
    ) -> Result<(), ServerError> {
        self.transfer.reading.remove(&(ring, to));
        self.transfer.log_failed |= values.is_empty();
        let Some(at) = self.place(ring) else { return Ok(()) };
        let mut effects = Vec::new();
        self.rings[at].log_read(to, values, &mut effects);
        self.ring_effects(at, effects)
    }

    /// Another server needs snapshots of this one: such behind which everything is still in
    /// its log, or fresh ones.
    pub(super) fn fetched(&mut self, from: ServerId, partitions: &[PartitionId]) {
        let here = |id: &&PartitionId| self.partitions.iter().any(|replica| replica.id() == **id);
        let here: Vec<PartitionId> = partitions.iter().filter(here).copied().collect();
        if here.is_empty() {
            return;
        }
        self.transfer.fetchers.entry(from).or_default().extend(here);
        if self.holds_newest() {
            self.serve_fetchers();
        } else {
            self.begin_snapshots();
        }
    }

    /// All partitions have snapshots on disk that help.
    pub(super) fn serve_fetchers(&mut self) {
        for (to, partitions) in std::mem::take(&mut self.transfer.fetchers) {
            let partitions = partitions.into_iter().collect();
            self.effects.push(Effect::SendSnapshots { to, partitions });
        }
    }

    /// When `fetch` has something to do.
    pub(super) fn fetch_deadline_us(&self) -> Option<u64> {
        let lacking = self.transfer.lacking.values().map(|(_, due_us, _)| *due_us);
        let source = self.transfer.source.map(|source| source.due_us.unwrap_or_default());
        lacking.chain(source).min()
    }
}
