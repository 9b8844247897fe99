//! A replica's state in a snapshot: cursors, sessions, front ends, outbox, times, what is set
//! aside, map; then the tree's chunks. Written in slices between commands, exact as of its begin.
//! DESIGN section 8. It never touches a file. Called by the server machine and at recovery.

use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message;
use volery_proto::ids::{Instance, PartitionId, ServerId, SessionId, Slot, Zxid};
use volery_proto::wire;

use super::dedup::FrontEnd;
use super::{Partition, ROOT_PARTITION};
use crate::core::apply::Contribution;
use crate::core::merge::{Cursor, Merge};
use crate::core::mutation::mutated;
use crate::core::oracle::PartitionMap;
use crate::core::session::Session;
use crate::core::tree::{LoadError, Loader};

/// A snapshot that cannot be this partition's.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The first chunk is missing or no partition state.
    #[error("the snapshot's head does not decode: {0}")]
    Head(String),
    /// A field is out of range.
    #[error("the snapshot's head holds an invalid {0}")]
    Field(&'static str),
    /// It belongs to another partition.
    #[error("the snapshot is of partition {found}, not {wanted}")]
    Partition {
        /// As the snapshot says.
        found: u32,
        /// As its name says.
        wanted: PartitionId,
    },
    /// The tree does not load.
    #[error(transparent)]
    Tree(#[from] LoadError),
}

fn to_wire(cursor: Cursor) -> wire::Cursor {
    wire::Cursor { instance: cursor.instance.0, position: cursor.position.0, index: cursor.index }
}

fn from_wire(cursor: Option<wire::Cursor>) -> Cursor {
    let wire::Cursor { instance, position, index } = cursor.unwrap_or_default();
    Cursor { instance: Instance(instance), position: Slot(position), index }
}

/// The head's longest piece; storage and peers bound their chunks.
const PIECE_BYTES: usize = 4 << 20;

/// Cuts the head: each piece says in its first byte whether another follows.
fn pieces(head: &[u8]) -> Vec<Bytes> {
    let count = head.len().div_ceil(PIECE_BYTES).max(1);
    let piece = |at: usize| {
        let end = head.len().min((at + 1) * PIECE_BYTES);
        let more = u8::from(at + 1 < count);
        [&[more], &head[at * PIECE_BYTES..end]].concat().into()
    };
    (0..count).map(piece).collect()
}

impl Partition {
    /// Commands delivered since the last snapshot began.
    #[must_use]
    pub fn since_snapshot(&self) -> u64 {
        self.since_snapshot
    }

    /// Begins a snapshot as of now; returns its first chunks. It shows everything delivered: the
    /// tree has the effects of commands that have passed those set aside, which are beside it.
    pub fn begin_snapshot(&mut self) -> Vec<Bytes> {
        self.since_snapshot = 0;
        self.tree.begin_snapshot();
        let (global, own) = self.merge.cursors();
        let head = wire::PartitionState {
            partition: u32::from(self.id.0),
            map_version: self.map.version(),
            global: Some(to_wire(global)),
            own: Some(to_wire(own)),
            last_time_ms: self.last_time_ms,
            last_write: self.last_write.0,
            sessions: self
                .sessions
                .iter()
                .map(|(id, session)| wire::SessionState {
                    id: id.0,
                    password: session.password.clone(),
                    timeout_ms: session.timeout_ms,
                    epoch: session.epoch.0,
                    server: u32::from(session.server.0),
                })
                .collect(),
            front_ends: self
                .front_ends
                .known
                .iter()
                .filter(|_| !mutated!(NumbersForgotten))
                .map(|(server, f)| wire::FrontEndState {
                    server: u32::from(server.0),
                    incarnation: f.incarnation.0,
                    global: f.global,
                    own: f.own,
                    start: f.start,
                })
                .collect(),
            outbox: self
                .exchange
                .outbox
                .iter()
                .filter(|_| !mutated!(OutboxForgotten))
                .map(|(zxid, c)| wire::OutboxEntry { zxid: zxid.0, contribution: c.clone() })
                .collect(),
            set_aside: if mutated!(SetAsideForgotten) { Vec::new() } else { self.aside.to_wire() },
        };
        pieces(&head.encode_to_vec())
    }

    /// Appends the next chunk of the tree; true once it was the last.
    pub fn snapshot_slice(&mut self, max_nodes: usize, out: &mut Vec<u8>) -> bool {
        self.tree.snapshot_slice(max_nodes, out)
    }

    /// Gives up the snapshot that is running.
    pub fn abort_snapshot(&mut self) {
        self.tree.abort_snapshot();
    }

    /// Builds the replica again from a snapshot's chunks.
    ///
    /// # Errors
    /// They are no snapshot of this partition.
    pub fn load<E: From<SnapshotError>>(
        id: PartitionId,
        map: Arc<PartitionMap>,
        hash_seed: u64,
        mut chunks: impl FnMut() -> Result<Option<Bytes>, E>,
    ) -> Result<Partition, E> {
        let mut head = BytesMut::new();
        loop {
            let short = || SnapshotError::Head("it ends early".to_owned());
            let mut piece = chunks()?.ok_or_else(short)?;
            let more = piece.try_get_u8().map_err(|_| short())?;
            head.extend_from_slice(&piece);
            if more == 0 {
                break;
            }
        }
        let state = wire::PartitionState::decode(head.freeze())
            .map_err(|error| SnapshotError::Head(error.to_string()))?;
        if state.partition != u32::from(id.0) {
            return Err(SnapshotError::Partition { found: state.partition, wanted: id }.into());
        }
        let mut loader = Loader::new(hash_seed);
        while let Some(chunk) = chunks()? {
            loader.chunk(&chunk).map_err(SnapshotError::from)?;
        }
        let mut partition = Partition::new(id, map, hash_seed);
        debug_assert!(id == ROOT_PARTITION || partition.tree.node_count() == 0);
        partition.tree = loader.finish().map_err(SnapshotError::from)?;
        partition.restore(state)?;
        Ok(partition)
    }

    fn restore(&mut self, state: wire::PartitionState) -> Result<(), SnapshotError> {
        self.merge = Merge::new(from_wire(state.global), self.id.ring(), from_wire(state.own));
        self.last_time_ms = state.last_time_ms;
        self.last_write = Zxid(state.last_write);
        let server =
            |raw: u32| u8::try_from(raw).map(ServerId).map_err(|_| SnapshotError::Field("server"));
        for s in state.sessions {
            let session = Session {
                password: Bytes::copy_from_slice(&s.password),
                timeout_ms: s.timeout_ms,
                epoch: Zxid(s.epoch),
                server: server(s.server)?,
            };
            self.sessions.open(SessionId(s.id), session);
        }
        for f in state.front_ends {
            let known = FrontEnd {
                incarnation: Zxid(f.incarnation),
                start: f.start,
                global: f.global,
                own: f.own,
            };
            self.front_ends.known.insert(server(f.server)?, known);
        }
        for entry in state.outbox {
            Contribution::decode(entry.contribution.clone())
                .map_err(|_| SnapshotError::Field("contribution"))?;
            let contribution = Bytes::copy_from_slice(&entry.contribution);
            self.exchange.give(Zxid(entry.zxid), contribution);
        }
        let contributed = |zxid: Zxid| self.exchange.outbox.contains_key(&zxid);
        for item in state.set_aside {
            self.aside.restore(item, self.id, &self.map, &contributed)?;
        }
        Ok(())
    }

    /// A digest of everything replicated but the outbox: equal at all replicas that have executed
    /// the same. What is set aside is not in it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let text = format!(
            "{:?} {:?} {} {} {}",
            self.sessions,
            self.front_ends,
            self.last_time_ms,
            self.last_write,
            self.tree.digest()
        );
        xxhash_rust::xxh3::xxh3_64(text.as_bytes())
    }
}
