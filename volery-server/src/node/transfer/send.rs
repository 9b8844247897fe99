//! The thread that sends snapshots: it offers what the machine says, and reads what others want
//! from the disk, in turns, one range for each at a time. It remembers nothing that matters.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use volery_proto::ids::{PartitionId, ServerId};
use volery_proto::wire::{
    SnapshotFrame, SnapshotGone, SnapshotOffer, SnapshotPiece, SnapshotWant, snapshot_frame::Body,
};

use super::pace::Pace;
use super::{Put, SNAPSHOT, Tell, TransferEvent};
use crate::node::clock::{Clock, Progress};
use crate::peer_port::Credit;
use crate::storage::snapshot;

/// Files of which nothing is wanted any more are closed after this.
const IDLE: Duration = Duration::from_secs(60);

/// What the thread is to do.
#[derive(Debug)]
pub(in crate::node) enum Job {
    /// Offer the newest snapshots of these partitions.
    Offer { to: ServerId, partitions: Vec<PartitionId> },
    /// A server wants something.
    Want {
        peer: ServerId,
        body: Bytes,
        /// Given back once it is read.
        credit: Option<Arc<Credit>>,
    },
}

/// What a server wants at present.
#[derive(Debug)]
struct Serving {
    partition: u16,
    zxid: u64,
    /// Open, so that it can be read to its end even when it is no longer kept.
    file: File,
    bytes: u64,
    /// The rest of the range that was asked for.
    at: u64,
    end: u64,
    progress: Progress,
}

/// The sending thread's state.
pub(in crate::node) struct Sending {
    dir: PathBuf,
    put: Put,
    tell: Tell,
    pace: Arc<Pace>,
    clock: Clock,
    serving: BTreeMap<ServerId, Serving>,
    /// Whose turn it was.
    turn: ServerId,
}

impl Sending {
    pub(in crate::node) fn new(
        dir: PathBuf,
        put: Put,
        tell: Tell,
        pace: Arc<Pace>,
        clock: Clock,
    ) -> Sending {
        Sending { dir, put, tell, pace, clock, serving: BTreeMap::new(), turn: ServerId(0) }
    }

    /// Works until nobody can ask for anything any more.
    pub(in crate::node) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            // Whoever asks is heard before the next piece.
            let job = match self.is_busy() {
                true => jobs.try_recv().map_err(|error| error == TryRecvError::Disconnected),
                false => {
                    jobs.recv_timeout(IDLE).map_err(|error| error == RecvTimeoutError::Disconnected)
                }
            };
            match job {
                Ok(job) => self.job(job),
                Err(true) => return,
                Err(false) if self.is_busy() => self.piece(),
                Err(false) => self.serving.clear(),
            }
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.serving.values().any(|serving| serving.at < serving.end)
    }

    pub(super) fn job(&mut self, job: Job) {
        match job {
            Job::Offer { to, partitions } => {
                for partition in partitions {
                    if let Err(error) = self.offer(to, partition) {
                        tracing::warn!(%to, %partition, error, "cannot offer a snapshot");
                    }
                }
            }
            Job::Want { peer, body, credit } => {
                match SnapshotWant::decode(body) {
                    Ok(want) => self.want(peer, &want),
                    Err(error) => tracing::warn!(%peer, %error, "a server wants nobody knows what"),
                }
                drop(credit);
            }
        }
    }

    fn offer(&self, to: ServerId, partition: PartitionId) -> Result<(), String> {
        let found = snapshot::list(&self.dir, partition.0).map_err(|error| error.to_string())?;
        let newest = found.first().ok_or("there is none")?;
        let (zxid, bytes) = (newest.zxid, newest.bytes);
        let offer = SnapshotOffer { partition: u32::from(partition.0), zxid, bytes };
        let frame = SnapshotFrame { body: Some(Body::Offer(offer)) };
        // If it is lost, the other server asks again.
        (self.put)(to, SNAPSHOT, frame.encode_to_vec().into());
        Ok(())
    }

    /// What a server wants now; what it wanted before is forgotten.
    fn want(&mut self, peer: ServerId, want: &SnapshotWant) {
        match self.serve(peer, want) {
            Ok(()) => (self.tell)(TransferEvent::Sending),
            Err(error) => {
                tracing::warn!(%peer, error, "a server wants a snapshot that is not here any more");
                let gone = SnapshotGone { partition: want.partition, zxid: want.zxid };
                let frame = SnapshotFrame { body: Some(Body::Gone(gone)) };
                (self.put)(peer, SNAPSHOT, frame.encode_to_vec().into());
            }
        }
    }

    fn serve(&mut self, peer: ServerId, want: &SnapshotWant) -> Result<(), String> {
        let partition = u16::try_from(want.partition).map_err(|error| error.to_string())?;
        let same = |serving: &Serving| (serving.partition, serving.zxid) == (partition, want.zxid);
        let serving = match self.serving.remove(&peer).filter(same) {
            Some(serving) => serving,
            None => {
                let path = snapshot::path_of(&self.dir, partition, want.zxid);
                let open = || -> std::io::Result<(File, u64)> {
                    let file = File::open(&path)?;
                    let bytes = file.metadata()?.len();
                    Ok((file, bytes))
                };
                let (file, bytes) =
                    open().map_err(|error| format!("{}: {error}", path.display()))?;
                let from = want.offset;
                tracing::info!(to = %peer, partition, bytes, from, "sending a snapshot");
                let progress = Progress::new(self.clock);
                Serving { partition, zxid: want.zxid, file, bytes, at: 0, end: 0, progress }
            }
        };
        let end = want.offset.saturating_add(want.bytes).min(serving.bytes);
        self.serving.insert(peer, Serving { at: want.offset, end, ..serving });
        Ok(())
    }

    /// Sends the next piece to whoever's turn it is.
    pub(super) fn piece(&mut self) {
        let busy = |(_, serving): &(&ServerId, &Serving)| serving.at < serving.end;
        let after = self.serving.iter().filter(busy).find(|(id, _)| **id > self.turn);
        let turn = match after {
            Some((id, _)) => Some(*id),
            None => self.serving.iter().find(busy).map(|(id, _)| *id),
        };
        let Some(to) = turn else { return };
        self.turn = to;
        if let Err(error) = self.piece_for(to) {
            tracing::warn!(%to, error, "cannot send a snapshot; it will be asked for again");
            self.serving.remove(&to);
        }
    }

    fn piece_for(&mut self, to: ServerId) -> Result<(), String> {
        let Some(serving) = self.serving.get_mut(&to) else { return Ok(()) };
        let length = (serving.end - serving.at).min(self.pace.piece_bytes());
        let mut bytes = vec![0; length as usize];
        serving.file.read_exact_at(&mut bytes, serving.at).map_err(|error| error.to_string())?;
        let piece = SnapshotPiece {
            partition: u32::from(serving.partition),
            zxid: serving.zxid,
            offset: serving.at,
            checksum: crc32c::crc32c(&bytes),
            bytes: bytes.into(),
        };
        let frame = SnapshotFrame { body: Some(Body::Piece(piece)) };
        self.pace.wait(length);
        if !(self.put)(to, SNAPSHOT, frame.encode_to_vec().into()) {
            // The link is gone, or full: the other server goes on from where it is.
            serving.end = serving.at;
            return Ok(());
        }
        serving.at += length;
        let (partition, sent, of) = (serving.partition, serving.at, serving.bytes);
        if sent == of {
            tracing::info!(%to, partition, bytes = of, "snapshot sent");
            (self.tell)(TransferEvent::Sent);
        } else if serving.progress.due() {
            tracing::info!(%to, partition, sent, of, "sending a snapshot");
        }
        Ok(())
    }
}
