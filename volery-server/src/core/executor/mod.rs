//! The replica of one partition: executes what the merge delivers, in zxid order, exchanging
//! contributions for commands that span partitions (S-SMR, DSN 2014). Everything it uses is in
//! the command or in its state: no clock, no configuration. Called by the server machine.
//!
//! ```text
//! decided values → merge → dedup → (exchange: wait for contributions) → turn → tree
//!                                        ↓ contribution                   ↓ results, events
//! ```

mod dedup;
mod exchange;
mod local;
mod snapshot;
mod turn;
mod views;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::{Origin, Value};
use volery_proto::ids::{Instance, PartitionId, RingId, SessionId, Slot, Zxid};
use volery_proto::zk::ErrorCode;

use crate::core::apply::Contribution;
use crate::core::merge::{Cursor, Delivery, Merge};
use crate::core::mutation::mutated;
use crate::core::oracle::{Destination, PartitionMap, ROOT_PARTITION};
use crate::core::session::SessionTable;
use crate::core::tree::{Tree, TreeError};
use crate::core::watch::{self, WatchTable};
use dedup::{FrontEnds, Turn};
use exchange::Exchange;

pub use local::{Again, Client, Served, WatchList};
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

/// A command that waits for contributions; everything behind it waits too.
#[derive(Debug)]
struct Waiting {
    delivery: Delivery,
    partitions: Vec<PartitionId>,
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
    /// The latest time of any command: no znode's time goes back (ATTACKS row 27).
    last_time_ms: i64,
    /// The last command that may have changed the tree.
    last_write: Zxid,
    waiting: Option<Waiting>,
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
            waiting: None,
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

    /// Everything up to here is executed.
    #[must_use]
    pub fn position(&self) -> Zxid {
        match &self.waiting {
            // Its events are still to come.
            Some(waiting) => Zxid(waiting.delivery.zxid.0 - 1),
            None => self.merge.position(),
        }
    }

    /// The last command that may have changed the tree: no read shows anything later.
    #[must_use]
    pub fn last_write(&self) -> Zxid {
        self.last_write
    }

    /// Where it reads on in ring 0 and in its own ring after a restart.
    #[must_use]
    pub fn cursors(&self) -> (Cursor, Cursor) {
        self.merge.cursors()
    }

    /// The slot that a ring has to pass for the next command to execute.
    #[must_use]
    pub fn wanted(&self) -> Option<(RingId, Slot)> {
        if self.waiting.is_some() { None } else { self.merge.wanted() }
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
        if zxid > self.position() {
            self.exchange.receive(zxid, from, given);
        }
    }

    /// What this partition contributed to a command, for one that asks again.
    #[must_use]
    pub fn contributed(&self, zxid: Zxid) -> Option<Arc<Contribution>> {
        self.exchange.contributed(zxid)
    }

    /// The command that waits, and whose contributions it lacks.
    #[must_use]
    pub fn lacks(&self) -> Option<(Zxid, Vec<PartitionId>)> {
        let waiting = self.waiting.as_ref()?;
        let zxid = waiting.delivery.zxid;
        let lacking = |p: &PartitionId| *p != self.id && !self.exchange.has(zxid, *p);
        Some((zxid, waiting.partitions.iter().copied().filter(lacking).collect()))
    }

    /// Forgets contributions that every partition has behind a durable snapshot.
    pub fn trim_outbox(&mut self, below: Zxid) {
        self.exchange.trim(below);
    }

    /// Executes everything that can be.
    ///
    /// # Errors
    /// An invariant is broken.
    pub fn advance(&mut self, out: &mut Vec<Output>) -> Result<(), ExecutorError> {
        loop {
            if let Some(waiting) = &self.waiting {
                let zxid = waiting.delivery.zxid;
                let complete = |p: &PartitionId| *p == self.id || self.exchange.has(zxid, *p);
                if !waiting.partitions.iter().all(complete) {
                    return Ok(());
                }
                if let Some(Waiting { delivery, .. }) = self.waiting.take() {
                    let others = self.exchange.take(zxid);
                    self.execute_write(&delivery, Some(&others), out)?;
                }
                continue;
            }
            let Some(delivery) = self.merge.pop() else { return Ok(()) };
            self.deliver(delivery, out)?;
        }
    }

    /// One command's turn has come.
    fn deliver(&mut self, delivery: Delivery, out: &mut Vec<Output>) -> Result<(), ExecutorError> {
        self.since_snapshot += 1;
        let ring = delivery.zxid.ring();
        if mutated!(UnaddressedNotCounted) {
            let operation = &delivery.command().operation;
            if !self.map.destination(operation).includes(self.id) {
                return Ok(());
            }
        }
        match self.front_ends.turn(delivery.command(), ring, delivery.zxid) {
            Turn::Execute => {}
            Turn::Hello => {
                out.push(Output::Hello { origin: delivery.command().origin, zxid: delivery.zxid });
                return Ok(());
            }
            Turn::Pass => return Ok(()),
        }
        let destination = self.map.destination(&delivery.command().operation);
        if !destination.includes(self.id) {
            return Ok(());
        }
        match destination {
            Destination::Several(partitions) if self.may_execute(&delivery) => {
                self.contribute(&delivery, &partitions, out);
                self.waiting = Some(Waiting { delivery, partitions });
                Ok(())
            }
            _ => self.execute(&delivery, out),
        }
    }
}
