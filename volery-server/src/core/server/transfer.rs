//! What a server fetches from others when its own memory does not suffice: contributions that no
//! replica here has, and, when it is too far behind, all their snapshots. DESIGN sections 6, 8.
//! It carries no snapshot itself: disk and port do. Part of the server machine.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use std::sync::Arc;
use volery_proto::ids::{Instance, PartitionId, RingId, ServerId, Zxid};

use super::message::PeerMessage;
use super::{Effect, Server, find};
use crate::core::apply::Contribution;
use crate::core::executor::Partition;
use crate::core::mutation::mutated;
use crate::core::types::Now;

/// A server that asked for snapshots asks again after so many resends.
const RESENDS_A_FETCH: u64 = 10;
/// A replica that lacks contributions asks for them so often in the time of a resend.
const PULLS_A_RESEND: u64 = 8;
/// After so many pulls that came to nothing snapshots are fetched.
const PULLS_A_FETCH: u64 = RESENDS_A_FETCH * PULLS_A_RESEND;

/// What is missing here, and who misses something of ours.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// Per partition: the command that it waits with, when others are asked, and how often they
    /// were.
    lacking: BTreeMap<PartitionId, (Zxid, u64, u64)>,
    /// Whose snapshots are needed, of which partitions, and when to ask (again).
    fetch: Option<(ServerId, Vec<PartitionId>, u64)>,
    /// So many were.
    fetches: u64,
    /// Who gets which snapshots once the running cycle is through.
    fetchers: BTreeMap<ServerId, Vec<PartitionId>>,
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
                if asked.is_multiple_of(PULLS_A_FETCH) {
                    self.fetch_of(&[id], None);
                }
                if !mutated!(NeverPulls) {
                    self.pull(&lacks, asked);
                }
            }
        }
        if let Some((from, partitions, due_us)) = &mut self.transfer.fetch
            && now.monotonic_us >= *due_us
        {
            *due_us = now.monotonic_us + RESENDS_A_FETCH * resend_us;
            let (from, partitions) = (*from, partitions.clone());
            self.send(from, PeerMessage::Fetch(partitions));
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
        let wanted: Vec<PartitionId> = match at.checked_sub(1) {
            Some(own) => vec![self.partitions[own].id()],
            None => self.partitions.iter().filter(|p| behind(p)).map(Partition::id).collect(),
        };
        self.fetch_of(&wanted, Some(from));
    }

    /// Some of these partitions are to be fetched: from this server, if it has any of them.
    fn fetch_of(&mut self, wanted: &[PartitionId], from: Option<ServerId>) {
        let cluster = &self.config.cluster;
        let held = |server: ServerId| -> Vec<PartitionId> {
            wanted.iter().copied().filter(|p| cluster.holds(server, *p)).collect()
        };
        let from = from.filter(|from| !held(*from).is_empty());
        let from = from.or_else(|| self.holder(*wanted.first()?, self.transfer.fetches));
        let Some(from) = from else { return };
        let partitions = held(from);
        self.transfer.fetches += 1;
        let due_us = self.transfer.fetch.as_ref().map_or(0, |(.., due_us)| *due_us);
        self.transfer.fetch = Some((from, partitions, due_us));
    }

    /// Another server needs snapshots of this one: such behind which everything is still in
    /// memory, or fresh ones.
    pub(super) fn fetched(&mut self, from: ServerId, partitions: &[PartitionId]) {
        let here = partitions.iter().copied().filter(|p| find(&self.partitions, *p).is_some());
        let here: BTreeSet<PartitionId> = here.collect();
        if here.is_empty() {
            return;
        }
        self.transfer.fetchers.insert(from, here.into_iter().collect());
        if self.holds_newest() {
            self.serve_fetchers();
        } else {
            self.begin_snapshots();
        }
    }

    /// All partitions have snapshots on disk that help.
    pub(super) fn serve_fetchers(&mut self) {
        for (to, partitions) in std::mem::take(&mut self.transfer.fetchers) {
            self.effects.push(Effect::SendSnapshots { to, partitions });
        }
    }

    /// When `fetch` has something to do.
    pub(super) fn fetch_deadline_us(&self) -> Option<u64> {
        let lacking = self.transfer.lacking.values().map(|(_, due_us, _)| *due_us);
        lacking.chain(self.transfer.fetch.iter().map(|(.., due_us)| *due_us)).min()
    }
}
