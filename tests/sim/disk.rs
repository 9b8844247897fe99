//! A disk: the log's records become durable in order after a delay, snapshots as a whole; a
//! crash takes what is not durable, and sometimes leaves a prefix of it.
//! It decides no delays: the world does. Used by the world.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use volery_proto::ids::{PartitionId, Zxid};
use volery_proto::ring::decode_record;
use volery_proto::wire::log_record::Body;

use crate::prng::Prng;

/// A snapshot on disk.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) zxid: Zxid,
    pub(crate) chunks: Vec<Bytes>,
}

/// The disk of one server.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Durable and not purged: (position, record).
    log: VecDeque<(u64, Bytes)>,
    end_lsn: u64,
    pending: VecDeque<(u64, Vec<Bytes>)>,
    /// How many of `pending` the sync that runs will cover.
    pub(crate) syncing: usize,
    /// What became durable since the ledger was last told.
    pub(crate) fresh: Vec<Bytes>,
    /// The encoded records, those that were purged since included; checkpoints left out.
    pub(crate) records: Vec<Bytes>,
    growing: BTreeMap<PartitionId, Snapshot>,
    finished: BTreeMap<PartitionId, Snapshot>,
    /// Of each partition as many as the storage keeps, oldest first; never an empty list.
    kept: BTreeMap<PartitionId, VecDeque<Snapshot>>,
    snapshots_kept: usize,
}

impl Disk {
    pub(crate) fn new(snapshots_kept: usize) -> Disk {
        Disk { snapshots_kept, ..Disk::default() }
    }

    pub(crate) fn append(&mut self, token: u64, records: Vec<Bytes>) {
        self.pending.push_back((token, records));
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// A sync begins that covers all appended so far.
    pub(crate) fn begin_sync(&mut self) {
        self.syncing = self.pending.len();
    }

    /// It ends: the token and the position that are durable now.
    pub(crate) fn end_sync(&mut self) -> Option<(u64, u64)> {
        let mut last = None;
        for _ in 0..std::mem::take(&mut self.syncing) {
            let Some((token, records)) = self.pending.pop_front() else { break };
            for record in records {
                self.harden(record);
            }
            last = Some((token, self.end_lsn));
        }
        last
    }

    fn harden(&mut self, record: Bytes) {
        let body = decode_record(record.clone()).ok().and_then(|r| r.body);
        if !matches!(body, Some(Body::Trim(_))) {
            self.records.push(record.clone());
        }
        self.fresh.push(record.clone());
        self.log.push_back((self.end_lsn, record));
        self.end_lsn += 1;
    }

    /// The process dies.
    pub(crate) fn crash(&mut self, prng: &mut Prng) {
        self.syncing = 0;
        self.growing.clear();
        let unsynced: Vec<Bytes> = self.pending.drain(..).flat_map(|(_, r)| r).collect();
        let kept = match prng.below(3) {
            0 => prng.below(unsynced.len() as u64 + 1) as usize,
            _ => 0,
        };
        for record in unsynced.into_iter().take(kept) {
            self.harden(record);
        }
        // A snapshot that was complete may have reached its place, or not.
        for (partition, snapshot) in std::mem::take(&mut self.finished) {
            if prng.permille(300) {
                self.install(partition, snapshot);
            }
        }
    }

    /// Everything on it is gone.
    pub(crate) fn wipe(&mut self) {
        *self = Disk::new(self.snapshots_kept);
    }

    /// A snapshot of another server arrives: the newest counts, and of two that are equally new
    /// the one that came.
    pub(crate) fn receive(&mut self, partition: PartitionId, snapshot: Snapshot) {
        let own = self.kept.get(&partition).and_then(VecDeque::back);
        if own.is_none_or(|own| snapshot.zxid >= own.zxid) {
            self.install(partition, snapshot);
        }
    }

    /// Purges as whole segments do: never more than it may, often less.
    pub(crate) fn purge(&mut self, below_lsn: u64, prng: &mut Prng) {
        let first = self.log.front().map_or(0, |(lsn, _)| *lsn);
        let spare = if prng.permille(500) { below_lsn.saturating_sub(first) / 2 } else { 0 };
        let below = below_lsn.saturating_sub(spare);
        while self.log.front().is_some_and(|(lsn, _)| *lsn < below) {
            self.log.pop_front();
        }
    }

    pub(crate) fn snapshot_begin(&mut self, partition: PartitionId, zxid: Zxid) {
        self.growing.insert(partition, Snapshot { zxid, chunks: Vec::new() });
    }

    pub(crate) fn snapshot_chunk(&mut self, partition: PartitionId, chunk: Bytes) {
        if let Some(snapshot) = self.growing.get_mut(&partition) {
            snapshot.chunks.push(chunk);
        }
    }

    pub(crate) fn snapshot_finish(&mut self, partition: PartitionId) {
        if let Some(snapshot) = self.growing.remove(&partition) {
            self.finished.insert(partition, snapshot);
        }
    }

    /// The disk gives up a snapshot.
    pub(crate) fn snapshot_fail(&mut self, partition: PartitionId) {
        self.growing.remove(&partition);
        self.finished.remove(&partition);
    }

    /// A complete snapshot is durable; false where there is none.
    pub(crate) fn snapshot_durable(&mut self, partition: PartitionId) -> bool {
        match self.finished.remove(&partition) {
            Some(snapshot) => {
                self.install(partition, snapshot);
                true
            }
            None => false,
        }
    }

    fn install(&mut self, partition: PartitionId, snapshot: Snapshot) {
        let kept = self.kept.entry(partition).or_default();
        kept.push_back(snapshot);
        if kept.len() > self.snapshots_kept {
            kept.pop_front();
        }
    }

    /// The snapshots that a start finds if of each partition so many of the newest are taken
    /// away. The oldest that is kept stays.
    pub(crate) fn snapshots(
        &self,
        mut taken: impl FnMut(usize) -> usize,
    ) -> BTreeMap<PartitionId, Snapshot> {
        let kept = self.kept.iter();
        let newest = kept.filter_map(|(partition, kept)| {
            let left = kept.len() - taken(kept.len()).min(kept.len() - 1);
            Some((*partition, kept.get(left - 1)?.clone()))
        });
        newest.collect()
    }

    /// The log as a start finds it.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Bytes> {
        self.log.iter().map(|(_, record)| record)
    }

    /// Those whose position is below this one.
    pub(crate) fn records_below(&self, lsn: u64) -> impl Iterator<Item = &Bytes> {
        self.log.iter().take_while(move |(at, _)| *at < lsn).map(|(_, record)| record)
    }

    /// The ring of a record.
    pub(crate) fn ring_of(record: &Bytes) -> usize {
        decode_record(record.clone()).map_or(0, |r| r.ring as usize)
    }
}
