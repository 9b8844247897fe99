//! Snapshots on their way between servers: read from this server's disk and sent piece by piece,
//! or received beside its own and put in their place once all of them are here.
//! It decides nothing: the machine asks. Two threads of the node.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use volery_proto::ids::{PartitionId, ServerId};
use volery_proto::wire::SnapshotPart;

use super::drive::Event;
use super::peers::SNAPSHOT;
use super::queue::Queue;
use crate::peer_port::{Credit, Lane, PeerHandle};
use crate::storage::snapshot::{self, SnapshotError, SnapshotInfo, SnapshotReader, SnapshotWriter};

/// A piece, as it came.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) peer: ServerId,
    pub(super) body: Bytes,
    /// Given back once it is written.
    #[expect(dead_code, reason = "it is held, not read")]
    pub(super) credit: Arc<Credit>,
}

/// Between two attempts to put a piece onto a link that has no room.
const PAUSE: Duration = Duration::from_millis(10);
/// Attempts; the machine of the other server asks again if it comes to nothing.
const ATTEMPTS: u32 = 1000;

/// Sends the newest snapshot of each of these partitions, on a thread of its own.
pub(super) fn send(
    dir: PathBuf,
    partitions: Vec<PartitionId>,
    number: u64,
    to: ServerId,
    port: PeerHandle,
) {
    let sending = move || match send_all(&dir, &partitions, number, to, &port) {
        Ok(bytes) => tracing::info!(%to, bytes, "snapshots sent to a server that was behind"),
        Err(error) => tracing::warn!(%to, error, "cannot send snapshots; it will ask again"),
    };
    if let Err(error) = thread::Builder::new().name("snapshot-send".to_owned()).spawn(sending) {
        tracing::warn!(%to, %error, "cannot send snapshots; it will ask again");
    }
}

fn send_all(
    dir: &Path,
    partitions: &[PartitionId],
    transfer: u64,
    to: ServerId,
    port: &PeerHandle,
) -> Result<u64, String> {
    let text = |error: SnapshotError| error.to_string();
    let mut bytes = 0;
    for (place, PartitionId(partition)) in (0u32..).zip(partitions.iter().copied()) {
        let newest = snapshot::list(dir, partition).map_err(text)?.into_iter().next();
        let newest = newest.ok_or_else(|| format!("partition {partition} has no snapshot"))?;
        let mut reader = SnapshotReader::open(&newest.path).map_err(text)?;
        let mut next = reader.next_chunk().map_err(text)?;
        let mut index = 0;
        loop {
            let chunk = next.take().unwrap_or_default();
            next = reader.next_chunk().map_err(text)?;
            bytes += chunk.len() as u64;
            let part = SnapshotPart {
                transfer,
                partition: u32::from(partition),
                partitions: partitions.len() as u32,
                place,
                zxid: newest.zxid,
                index,
                last: next.is_none(),
                chunk,
            };
            put(port, to, part.encode_to_vec().into())?;
            index += 1;
            if next.is_none() {
                break;
            }
        }
    }
    Ok(bytes)
}

/// The lane takes what it has room for: a full one holds this thread up and nobody else.
fn put(port: &PeerHandle, to: ServerId, body: Bytes) -> Result<(), String> {
    for _ in 0..ATTEMPTS {
        if port.send(to, Lane::Bulk, SNAPSHOT, body.clone()) {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
    Err("the link takes nothing".to_owned())
}

/// A transfer under way.
struct Incoming {
    peer: ServerId,
    transfer: u64,
    /// Of the next piece.
    place: u32,
    index: u32,
    writer: Option<SnapshotWriter>,
    done: Vec<SnapshotInfo>,
}

/// Receives snapshots into a directory beside the others.
pub(super) struct Receiving {
    dir: PathBuf,
    side: PathBuf,
    /// Those that are here.
    held: Vec<PartitionId>,
    queue: Arc<Queue<Event>>,
    incoming: Option<Incoming>,
}

impl Receiving {
    pub(super) fn new(dir: PathBuf, held: Vec<PartitionId>, queue: Arc<Queue<Event>>) -> Receiving {
        let side = dir.join("received");
        Receiving { dir, side, held, queue, incoming: None }
    }

    /// Works until the port is gone.
    pub(super) fn run(mut self, parts: Receiver<Part>) {
        for Part { peer, body, .. } in parts {
            match self.part(peer, body) {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(%peer, "snapshots received");
                    self.queue.push(Event::SnapshotsReceived);
                }
                Err(error) => {
                    tracing::warn!(%peer, error, "a transfer of snapshots is given up");
                    self.incoming = None;
                }
            }
        }
    }

    /// Whether that was the last piece of all.
    fn part(&mut self, peer: ServerId, body: Bytes) -> Result<bool, String> {
        let text = |error: SnapshotError| error.to_string();
        let part = SnapshotPart::decode(body).map_err(|error| error.to_string())?;
        let id = u16::try_from(part.partition).ok().map(PartitionId);
        let Some(id) = id.filter(|id| self.held.contains(id)) else {
            return Err(format!("partition {} is not on this server", part.partition));
        };
        let follows = self.incoming.as_ref().is_some_and(|incoming| {
            (incoming.peer, incoming.transfer) == (peer, part.transfer)
                && (incoming.place, incoming.index) == (part.place, part.index)
        });
        if !follows && (part.place, part.index) != (0, 0) {
            // The rest of one that was given up.
            return Ok(false);
        }
        if !follows {
            self.clear()?;
        }
        let mut incoming = self.incoming.take().unwrap_or(Incoming {
            peer,
            transfer: part.transfer,
            place: 0,
            index: 0,
            writer: None,
            done: Vec::new(),
        });
        let mut writer = match incoming.writer.take() {
            Some(writer) => writer,
            None => SnapshotWriter::create(&self.side, id.0, part.zxid).map_err(text)?,
        };
        writer.write_chunk(&part.chunk).map_err(text)?;
        incoming.index += 1;
        if part.last {
            incoming.done.push(writer.finish().map_err(text)?);
            (incoming.place, incoming.index) = (part.place.saturating_add(1), 0);
        } else {
            incoming.writer = Some(writer);
        }
        if incoming.done.len() as u64 >= u64::from(part.partitions) {
            return self.install(&incoming.done).map(|()| true);
        }
        self.incoming = Some(incoming);
        Ok(false)
    }

    /// Gives up what was under way, and what an earlier one has left.
    fn clear(&mut self) -> Result<(), String> {
        self.incoming = None;
        match fs::remove_dir_all(&self.side) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("{}: {error}", self.side.display()))
            }
            _ => Ok(()),
        }
    }

    fn install(&self, done: &[SnapshotInfo]) -> Result<(), String> {
        let text = |error: SnapshotError| error.to_string();
        for info in done {
            let own = snapshot::list(&self.dir, info.partition).map_err(text)?;
            // Of each partition the newest counts; what came fits together, so it wins a tie.
            if own.first().is_none_or(|own| own.zxid <= info.zxid) {
                snapshot::adopt(info, &self.dir).map_err(text)?;
            }
        }
        Ok(())
    }
}
