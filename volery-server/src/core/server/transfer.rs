//! What a server fetches from others when its own memory does not suffice: contributions that no
//! replica here has, and, when it is too far behind, all their snapshots. DESIGN sections 6, 8.
//! It carries no snapshot itself: disk and port do. Part of the server machine.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use std::sync::Arc;
use volery_proto::ids::{PartitionId, ServerId, Zxid};

use super::message::PeerMessage;
use super::{Effect, Server};
use crate::core::apply::Contribution;
use crate::core::types::Now;

/// A server that asked for snapshots asks again after so many resends.
const RESENDS_A_FETCH: u64 = 10;

/// What is missing here, and who misses something of ours.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    /// Per partition: the command that it waits with, when others are asked, and how often they
    /// were.
    lacking: BTreeMap<PartitionId, (Zxid, u64, u64)>,
    /// Whose snapshots are needed, and when to ask (again).
    fetch: Option<(ServerId, u64)>,
    /// Who gets snapshots once the running cycle is through.
    fetchers: BTreeSet<ServerId>,
}

impl Server {
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
            let later = now.monotonic_us + resend_us;
            let entry = self.transfer.lacking.entry(id).or_insert((*oldest, later, 0));
            if entry.0 != *oldest {
                *entry = (*oldest, later, 0);
            } else if now.monotonic_us >= entry.1 {
                entry.1 = later;
                entry.2 += 1;
                // Outboxes are trimmed below what a majority has behind it: whoever has not takes
                // snapshots that are past it.
                let asked = entry.2;
                if asked.is_multiple_of(RESENDS_A_FETCH) {
                    let other = (asked / RESENDS_A_FETCH) as usize % self.peers.others.len();
                    self.needs_snapshots(self.peers.others[other].id);
                }
                for (zxid, partitions) in lacks {
                    self.pull(zxid, &partitions);
                }
            }
        }
        if let Some((from, due_us)) = &mut self.transfer.fetch
            && now.monotonic_us >= *due_us
        {
            *due_us = now.monotonic_us + RESENDS_A_FETCH * resend_us;
            let from = *from;
            self.send(from, PeerMessage::Fetch);
        }
    }

    /// Asks everybody what these partitions contribute.
    fn pull(&mut self, zxid: Zxid, partitions: &[PartitionId]) {
        for other in 0..self.peers.others.len() {
            let partitions = partitions.to_vec();
            self.send(self.peers.others[other].id, PeerMessage::Pull { zxid, partitions });
        }
    }

    /// Another server lacks contributions: it gets what outboxes hold.
    pub(super) fn pulled(&mut self, from: ServerId, zxid: Zxid, partitions: &[PartitionId]) {
        for partition in partitions {
            let Some(replica) = self.partitions.get(usize::from(partition.0) - 1) else { continue };
            if let Some(contribution) = replica.contributed(zxid) {
                let (partition, contribution) = (*partition, contribution.encode());
                self.send(from, PeerMessage::Given { zxid, partition, contribution });
            }
        }
    }

    /// A contribution arrives; all replicas of a partition say the same, so the first counts.
    pub(super) fn given(&mut self, zxid: Zxid, partition: PartitionId, contribution: Bytes) {
        let Ok(contribution) = Contribution::decode(contribution) else { return };
        let contribution = Arc::new(contribution);
        for replica in &mut self.partitions {
            let waits =
                replica.lacks().any(|(wanted, from)| wanted == zxid && from.contains(&partition));
            if waits {
                replica.contribution(zxid, partition, contribution.clone());
            }
        }
    }

    /// A ring cannot catch up by values.
    pub(super) fn needs_snapshots(&mut self, from: ServerId) {
        let due_us = self.transfer.fetch.map_or(0, |(_, due_us)| due_us);
        self.transfer.fetch = Some((from, due_us));
    }

    /// Another server needs the snapshots of this one: such behind which everything is still in
    /// memory, or fresh ones.
    pub(super) fn fetched(&mut self, from: ServerId) {
        self.transfer.fetchers.insert(from);
        if self.holds_newest() {
            self.serve_fetchers();
        } else {
            self.begin_snapshots();
        }
    }

    /// All partitions have snapshots on disk that help.
    pub(super) fn serve_fetchers(&mut self) {
        for to in std::mem::take(&mut self.transfer.fetchers) {
            self.effects.push(Effect::SendSnapshots { to });
        }
    }

    /// When `fetch` has something to do.
    pub(super) fn fetch_deadline_us(&self) -> Option<u64> {
        let lacking = self.transfer.lacking.values().map(|(_, due_us, _)| *due_us);
        lacking.chain(self.transfer.fetch.map(|(_, due_us)| due_us)).min()
    }
}
