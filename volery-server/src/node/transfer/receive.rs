//! The thread that receives snapshots: it says what it wants of those that are offered, one after
//! the other, writes the pieces beside the own snapshots, and puts into place what is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use volery_proto::ids::{PartitionId, ServerId};
use volery_proto::wire::{
    SnapshotFrame, SnapshotGone, SnapshotOffer, SnapshotPiece, SnapshotWant, snapshot_frame::Body,
};

use super::{Put, Tell, TransferEvent, WANT};
use crate::node::clock::{Clock, Progress};
use crate::peer_port::Credit;
use crate::storage::snapshot::{PartialSnapshot, SnapshotError};

/// Bytes that are asked for at once.
const RANGE_BYTES: u64 = 4 << 20;
/// After so much silence the rest is asked for again.
const STALLED: Duration = Duration::from_secs(2);
/// After so much silence another server's snapshot is taken instead.
const GIVEN_UP: Duration = Duration::from_secs(10);
/// The machine hears once in so long that something arrives.
const TELL_INTERVAL: Duration = Duration::from_millis(500);

/// An offer or a piece, as it came.
#[derive(Debug)]
pub(in crate::node) struct Part {
    pub(in crate::node) peer: ServerId,
    pub(in crate::node) body: Bytes,
    /// Given back once it is written.
    pub(in crate::node) credit: Option<Arc<Credit>>,
}

/// The snapshot that is arriving.
#[derive(Debug)]
struct Incoming {
    peer: ServerId,
    partial: PartialSnapshot,
    /// The end of what is asked for.
    asked: u64,
    /// When the last piece came, or was asked for.
    moved_at: Duration,
    told_at: Duration,
    progress: Progress,
}

/// The receiving thread's state.
pub(in crate::node) struct Receiving {
    /// Where snapshots are, and where they arrive.
    dir: PathBuf,
    side: PathBuf,
    /// The partitions that are here.
    held: BTreeSet<PartitionId>,
    put: Put,
    tell: Tell,
    clock: Clock,
    incoming: Option<Incoming>,
    /// What is to follow, or instead of what is arriving: the last offer of each partition.
    offers: BTreeMap<u16, (ServerId, SnapshotOffer)>,
    /// They are in their place; the machine has been told.
    done: BTreeSet<u16>,
}

impl Receiving {
    pub(in crate::node) fn new(
        dir: PathBuf,
        held: BTreeSet<PartitionId>,
        put: Put,
        tell: Tell,
        clock: Clock,
    ) -> Receiving {
        let side = dir.join("received");
        let (offers, done) = (BTreeMap::new(), BTreeSet::new());
        Receiving { dir, side, held, put, tell, clock, incoming: None, offers, done }
    }

    /// Works until the port is gone.
    pub(in crate::node) fn run(mut self, parts: &mpsc::Receiver<Part>) {
        for Part { peer, body, credit } in parts {
            self.part(peer, body, self.clock.elapsed());
            drop(credit);
        }
    }

    pub(super) fn part(&mut self, peer: ServerId, body: Bytes, now: Duration) {
        match SnapshotFrame::decode(body).map(|frame| frame.body) {
            Ok(Some(Body::Offer(offer))) => self.offer(peer, offer, now),
            Ok(Some(Body::Piece(piece))) => self.piece(peer, &piece, now),
            Ok(Some(Body::Gone(gone))) => self.gone(peer, &gone, now),
            Ok(None) => tracing::warn!(%peer, "a piece of a snapshot is of an unknown kind"),
            Err(error) => tracing::warn!(%peer, %error, "a piece of a snapshot is dropped"),
        }
    }

    fn offer(&mut self, peer: ServerId, offer: SnapshotOffer, now: Duration) {
        let partition = u16::try_from(offer.partition).unwrap_or_default();
        if !self.held.contains(&PartitionId(partition)) || self.done.contains(&partition) {
            return;
        }
        self.offers.insert(partition, (peer, offer));
        let Some(incoming) = &self.incoming else { return self.next(now) };
        let silent = now.saturating_sub(incoming.moved_at);
        if silent < STALLED {
            // One after the other.
        } else if incoming.peer == peer {
            // What was asked for is lost, and perhaps more than that: all of it from the disk.
            self.incoming = None;
            self.next(now);
        } else if silent < GIVEN_UP {
            self.ask();
        } else if let Some(Incoming { peer: silent, partial, .. }) = self.incoming.take() {
            self.offers.retain(|_, (from, _)| *from != silent);
            // Where nobody else offers one it stays: its server may be back one day.
            if self.offers.contains_key(&partial.info().partition) {
                partial.remove();
            }
            self.next(now);
        }
    }

    /// Begins with what was offered meanwhile.
    fn next(&mut self, now: Duration) {
        let Some((partition, (peer, offer))) = self.offers.first_key_value() else { return };
        let (partition, peer, offer) = (*partition, *peer, *offer);
        match PartialSnapshot::find(&self.side, partition) {
            // What is offered waits until it is known what becomes of this.
            Ok(Some((server, zxid, bytes))) => {
                self.begin(ServerId(server), (partition, zxid), bytes, now);
            }
            Ok(None) => self.begin(peer, (partition, offer.zxid), offer.bytes, now),
            Err(error) => self.refuse(peer, partition, &error),
        }
    }

    /// Asks for a snapshot, from where what is there of it ends.
    fn begin(&mut self, peer: ServerId, id: (u16, u64), bytes: u64, now: Duration) {
        let partition = id.0;
        let partial = match PartialSnapshot::open(&self.side, peer.0, id, bytes) {
            Ok(partial) => partial,
            Err(error) => return self.refuse(peer, partition, &error),
        };
        let have = partial.have();
        tracing::info!(from = %peer, partition, bytes, have, "receiving a snapshot");
        let progress = Progress::new(self.clock);
        let told_at = Duration::ZERO;
        self.incoming =
            Some(Incoming { peer, partial, asked: have, moved_at: now, told_at, progress });
        self.go_on(now);
    }

    fn piece(&mut self, peer: ServerId, piece: &SnapshotPiece, now: Duration) {
        let Some(incoming) = &mut self.incoming else { return };
        let info = incoming.partial.info();
        let (partition, zxid) = (u32::from(info.partition), info.zxid);
        let is_next = (incoming.peer, partition, zxid, incoming.partial.have())
            == (peer, piece.partition, piece.zxid, piece.offset);
        let fits = incoming.partial.have() + piece.bytes.len() as u64 <= info.bytes;
        if !is_next || !fits {
            // Of an earlier question.
            return;
        }
        if crc32c::crc32c(&piece.bytes) != piece.checksum {
            tracing::warn!(from = %peer, partition, "a piece of a snapshot is damaged: asked anew");
            incoming.asked = incoming.partial.have();
        } else if let Err(error) = incoming.partial.write(&piece.bytes) {
            return self.give_up(&error);
        }
        self.go_on(now);
    }

    /// Says what happened, asks for more, or ends.
    fn go_on(&mut self, now: Duration) {
        let Some(incoming) = &mut self.incoming else { return };
        incoming.moved_at = now;
        if incoming.partial.is_complete() {
            return self.complete(now);
        }
        let (have, info) = (incoming.partial.have(), incoming.partial.info());
        let (partition, of) = (info.partition, info.bytes);
        if incoming.told_at == Duration::ZERO || now >= incoming.told_at + TELL_INTERVAL {
            incoming.told_at = now;
            (self.tell)(TransferEvent::Arriving(incoming.peer));
        }
        if incoming.progress.due() {
            tracing::info!(from = %incoming.peer, partition, have, of, "receiving a snapshot");
        }
        if have >= incoming.asked {
            self.ask();
        }
    }

    /// Asks for the next range.
    fn ask(&mut self) {
        let Some(incoming) = &mut self.incoming else { return };
        let (have, info) = (incoming.partial.have(), incoming.partial.info());
        incoming.asked = (have + RANGE_BYTES).min(info.bytes);
        let want = SnapshotWant {
            partition: u32::from(info.partition),
            zxid: info.zxid,
            offset: have,
            bytes: incoming.asked - have,
        };
        // If it is lost, a snapshot is offered again.
        (self.put)(incoming.peer, WANT, want.encode_to_vec().into());
    }

    /// The server has no longer what is arriving.
    fn gone(&mut self, peer: ServerId, gone: &SnapshotGone, now: Duration) {
        let is_it = |incoming: &mut Incoming| {
            let info = incoming.partial.info();
            (incoming.peer, u32::from(info.partition), info.zxid)
                == (peer, gone.partition, gone.zxid)
        };
        if let Some(incoming) = self.incoming.take_if(is_it) {
            let (partition, have) = (gone.partition, incoming.partial.have());
            tracing::warn!(
                from = %peer, partition, have,
                "a snapshot that was arriving is no longer there: another one is taken"
            );
            incoming.partial.remove();
            self.offers.retain(|_, (from, offer)| {
                (*from, offer.partition, offer.zxid) != (peer, gone.partition, gone.zxid)
            });
            self.next(now);
        }
    }

    fn complete(&mut self, now: Duration) {
        let Some(Incoming { peer, partial, .. }) = self.incoming.take() else { return };
        let (partition, bytes) = (partial.info().partition, partial.info().bytes);
        match partial.install(&self.dir) {
            Ok(()) => {
                tracing::info!(from = %peer, partition, bytes, "snapshot received");
                self.done.insert(partition);
                self.offers.remove(&partition);
                (self.tell)(TransferEvent::Received(PartitionId(partition)));
            }
            Err(error) => self.refuse(peer, partition, &error),
        }
        self.next(now);
    }

    /// The disk does not take it: its room is given back, as the log needs it more.
    fn give_up(&mut self, error: &SnapshotError) {
        let Some(Incoming { peer, partial, .. }) = self.incoming.take() else { return };
        let partition = partial.info().partition;
        partial.remove();
        self.refuse(peer, partition, error);
    }

    fn refuse(&mut self, peer: ServerId, partition: u16, error: &SnapshotError) {
        self.offers.remove(&partition);
        match error {
            SnapshotError::Damaged { offset, flaw, .. } => tracing::error!(
                from = %peer, partition, offset, %flaw,
                "the snapshot that a server sent is damaged, perhaps on its disk: another server \
                 is asked"
            ),
            error => tracing::error!(
                from = %peer, partition, %error,
                "a snapshot of another server cannot be taken over; it is asked for again"
            ),
        }
        (self.tell)(TransferEvent::Refused(peer));
    }
}
