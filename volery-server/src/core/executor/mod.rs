//! The replica of one partition: executes what the merge delivers, in zxid order, exchanging
//! contributions for commands that span partitions (S-SMR, DSN 2014). Everything it uses is in
//! the command or in its state: no clock, no configuration. Called by the server machine.
//!
//! ```text
//! decided values → merge → dedup → turn → tree          (a conflict, or contributions lack:)
//!                              ↓    ↓ results, events ◄──── set_aside ──► contribution
//! ```
//!
//! *Delivered* is what the merge has handed out, *executed* what has also left `set_aside`.

mod ask;
mod dedup;
mod deliver;
mod ending;
mod exchange;
mod local;
mod set_aside;
mod snapshot;
#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test fails by its panic.
mod tests;
mod turn;
mod views;

use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::{Origin, Value};
use volery_proto::ids::{Instance, PartitionId, RingId, ServerId, SessionId, Slot, Zxid};
use volery_proto::zk::ErrorCode;

use crate::core::apply::Contribution;
use crate::core::merge::{Cursor, Merge};
use crate::core::mutation::mutated;
use crate::core::oracle::{PartitionMap, ROOT_PARTITION};
use crate::core::session::SessionTable;
use crate::core::tree::{Tree, TreeError};
use crate::core::watch::{self, WatchTable};
use dedup::FrontEnds;
use exchange::Exchange;
use set_aside::SetAside;

pub use ask::{Answer, path_again};
pub use local::{Client, WatchList};
pub use set_aside::Scope;
pub use snapshot::SnapshotError;

/// What a command came to, the same at every partition that it addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// A client's write: the reply's body, or its error.
    Write(Result<Bytes, ErrorCode>),
    /// A session was created or re-opened.
    SessionOpened(SessionId),
    /// A re-open with a wrong password, or of a session that is gone.
    SessionUnknown,
    /// A session ended, or had ended.
    SessionClosed,
    /// A barrier: the reply's body.
    Synced(Bytes),
}

/// What executing leads to, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// For the other partitions that the command addresses.
    Contribute {
        /// The command.
        zxid: Zxid,
        /// By whom.
        from: PartitionId,
        /// To whom.
        to: Vec<PartitionId>,
        /// What this partition says.
        contribution: Arc<Contribution>,
    },
    /// A command was executed.
    Executed {
        /// Who numbered it.
        origin: Origin,
        /// Which ring ordered it.
        ring: RingId,
        /// Its place.
        zxid: Zxid,
        /// Its result.
        outcome: CommandOutcome,
    },
    /// A front end's hello was executed.
    Hello {
        /// Which server's.
        origin: Origin,
        /// Its incarnation from now on.
        zxid: Zxid,
    },
    /// A watch fired.
    Event {
        /// The change.
        zxid: Zxid,
        /// For whom, what, and its order among the events of this zxid.
        event: watch::Event,
    },
    /// A session lives from now on with this epoch.
    SessionOpened {
        /// Which.
        session: SessionId,
        /// Its epoch.
        epoch: Zxid,
        /// Its time-out.
        timeout_ms: u32,
    },
    /// A session is gone.
    SessionEnded {
        /// Which.
        session: SessionId,
    },
}

/// An invariant of a replica is broken: the process ends.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The tree refused a decided change.
    #[error("partition {partition}, zxid {zxid}: {error}")]
    Tree {
        /// Where.
        partition: PartitionId,
        /// At which command.
        zxid: Zxid,
        /// Why.
        error: TreeError,
    },
    /// A ring skipped an instance.
    #[error("partition {partition}: instance {instance} of ring {ring} came out of order")]
    Gap {
        /// Where.
        partition: PartitionId,
        /// Which ring.
        ring: RingId,
        /// Which instance came.
        instance: Instance,
    },
}

/// The replica of one partition.
#[derive(Debug)]
pub struct Partition {
    id: PartitionId,
    map: Arc<PartitionMap>,
    tree: Tree,
    sessions: SessionTable,
    front_ends: FrontEnds,
    merge: Merge,
    exchange: Exchange,
    /// The latest time of any command delivered (ATTACKS row 27).
    last_time_ms: i64,
    /// The last command delivered that may change the tree.
    last_write: Zxid,
    aside: SetAside,
    watches: WatchTable,
    /// Commands executed since the last snapshot began.
    since_snapshot: u64,
}

impl Partition {
    /// An empty partition. `hash_seed` only spreads hash tables.
    #[must_use]
    pub fn new(id: PartitionId, map: Arc<PartitionMap>, hash_seed: u64) -> Partition {
        // The names of a fresh tree are new: it cannot fail.
        let tree = Tree::fresh(id == ROOT_PARTITION, hash_seed)
            .unwrap_or_else(|_| Tree::new(id == ROOT_PARTITION, hash_seed));
        Partition {
            id,
            map,
            tree,
            sessions: SessionTable::default(),
            front_ends: FrontEnds::default(),
            merge: Merge::new(Cursor::default(), id.ring(), Cursor::default()),
            exchange: Exchange::default(),
            last_time_ms: 0,
            last_write: Zxid::ZERO,
            aside: SetAside::default(),
            watches: WatchTable::default(),
            since_snapshot: 0,
        }
    }

    /// Which partition.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Its tree.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Its session table.
    #[must_use]
    pub fn sessions(&self) -> &SessionTable {
        &self.sessions
    }

    /// Its watches.
    #[must_use]
    pub fn watches(&self) -> &WatchTable {
        &self.watches
    }

    /// Everything up to here is executed: the events of whatever is above are still to come, and
    /// contributions from here on may still be asked for. See also [`Partition::delivered`].
    #[must_use]
    pub fn position(&self) -> Zxid {
        let delivered = self.merge.position();
        match self.aside.oldest() {
            Some(oldest) if !mutated!(PositionPasses) => delivered.min(Zxid(oldest.0 - 1)),
            _ => delivered,
        }
    }

    /// Everything up to here is delivered: executed, or set aside.
    #[must_use]
    pub fn delivered(&self) -> Zxid {
        self.merge.position()
    }

    /// How many commands are set aside.
    #[must_use]
    pub fn set_aside(&self) -> usize {
        self.aside.len()
    }

    /// The last command delivered that may change the tree: no read shows anything later.
    #[must_use]
    pub fn last_write(&self) -> Zxid {
        self.last_write
    }

    /// The number of a front end's last start that is known here, 0 if none is.
    #[must_use]
    pub fn last_start(&self, server: ServerId) -> u64 {
        self.front_ends.known.get(&server).map_or(0, |known| known.start)
    }

    /// The last number of a front end's in ring 0 and in the own ring that was delivered here, if
    /// this is the incarnation that is known.
    #[must_use]
    pub fn last_numbers(&self, server: ServerId, incarnation: Zxid) -> (u64, u64) {
        let known = self.front_ends.known.get(&server);
        let known = known.filter(|known| known.incarnation == incarnation);
        known.map_or((0, 0), |known| (known.global, known.own))
    }

    /// Where it reads on in ring 0 and in its own ring after a restart.
    #[must_use]
    pub fn cursors(&self) -> (Cursor, Cursor) {
        self.merge.cursors()
    }

    /// The slot that a ring has to pass for the next command to execute.
    #[must_use]
    pub fn wanted(&self) -> Option<(RingId, Slot)> {
        if self.aside.is_full() { None } else { self.merge.wanted() }
    }

    /// Whether there is something to deliver that cannot be delivered yet.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        self.aside.is_full() || self.merge.wanted().is_some()
    }

    /// Takes a decided value of ring 0 or of its own ring.
    ///
    /// # Errors
    /// An instance is missing.
    pub fn decided(
        &mut self,
        ring: RingId,
        instance: Instance,
        value: &Arc<Value>,
    ) -> Result<(), ExecutorError> {
        if self.merge.push(ring, instance, value) {
            Ok(())
        } else {
            Err(ExecutorError::Gap { partition: self.id, ring, instance })
        }
    }

    /// Takes another partition's contribution.
    pub fn contribution(&mut self, zxid: Zxid, from: PartitionId, given: Arc<Contribution>) {
        if !self.aside.give(zxid, from, &given) && zxid > self.merge.position() {
            self.exchange.receive(zxid, from, given);
        }
    }

    /// What this partition contributed to a command, for one that asks again.
    #[must_use]
    pub fn contributed(&self, zxid: Zxid) -> Option<Arc<Contribution>> {
        self.exchange.contributed(zxid)
    }

    /// The commands that wait for contributions, and whose they lack.
    pub fn lacks(&self) -> impl Iterator<Item = (Zxid, Vec<PartitionId>)> {
        self.aside.lacking()
    }

    /// Bytes of contributions that are kept, for those who may still ask for them.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.exchange.kept_bytes()
    }

    /// Forgets contributions that every partition has behind a durable snapshot.
    pub fn trim_outbox(&mut self, below: Zxid) {
        self.exchange.trim(below);
    }
}
