//! The instances that a ring holds in memory: what was accepted or heard, and what is decided.
//! Never sends or logs anything; a dense window over the instances, forgotten from its low end.
//! Used by the acceptor, the learner and the coordinator of the same ring.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::Value;
use volery_proto::ids::{Ballot, Instance, ServerId};

/// A value and its bytes, encoded once.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) value: Arc<Value>,
    pub(super) bytes: Bytes,
}

impl Payload {
    pub(super) fn new(value: Value) -> Payload {
        let bytes = value.encode();
        Payload { value: Arc::new(value), bytes }
    }
}

/// The payload of one instance at one ballot. A payload counts for its own ballot only.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) ballot: Ballot,
    pub(super) payload: Payload,
    /// This acceptor accepted it (or logged the decided value): it is in the log.
    pub(super) logged: bool,
}

/// One instance.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) held: Option<Held>,
    /// Decided at this ballot.
    pub(super) decided: Option<Ballot>,
    /// The members known to have accepted `held` durably, by index.
    pub(super) votes: u64,
    /// Where the votes travel; empty in a ring of one.
    pub(super) path: Option<Arc<[ServerId]>>,
}

/// A window of instances from `base` on.
#[derive(Debug, Default)]
pub(super) struct Store {
    base: u64,
    cells: VecDeque<Cell>,
    bytes: usize,
}

impl Store {
    /// The first instance that is still in memory.
    pub(super) fn base(&self) -> Instance {
        Instance(self.base)
    }

    /// One above the highest instance of which anything is known.
    pub(super) fn end(&self) -> Instance {
        Instance(self.base + self.cells.len() as u64)
    }

    /// Bytes of payloads.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, instance: Instance) -> Option<&Cell> {
        let index = instance.0.checked_sub(self.base)?;
        self.cells.get(usize::try_from(index).ok()?)
    }

    pub(super) fn get_mut(&mut self, instance: Instance) -> Option<&mut Cell> {
        let index = instance.0.checked_sub(self.base)?;
        self.cells.get_mut(usize::try_from(index).ok()?)
    }

    /// The cell of an instance, made where it is not there yet; `None` below the window. The
    /// caller bounds how far above it may reach.
    pub(super) fn entry(&mut self, instance: Instance) -> Option<&mut Cell> {
        let index = usize::try_from(instance.0.checked_sub(self.base)?).ok()?;
        if index >= self.cells.len() {
            self.cells.resize_with(index + 1, Cell::default);
        }
        self.cells.get_mut(index)
    }

    /// Puts a payload into a cell, in the place of an older one.
    pub(super) fn hold(&mut self, instance: Instance, held: Held) -> Option<&mut Cell> {
        let added = held.payload.bytes.len();
        let cell = self.entry(instance)?;
        // Votes are for the payload of one ballot.
        cell.votes = 0;
        let removed = cell.held.replace(held).map_or(0, |old| old.payload.bytes.len());
        self.bytes = (self.bytes + added).saturating_sub(removed);
        self.get_mut(instance)
    }

    /// Forgets everything below `instance`.
    pub(super) fn forget_below(&mut self, instance: Instance) {
        while self.base < instance.0 {
            match self.cells.pop_front() {
                Some(cell) => {
                    let freed = cell.held.map_or(0, |held| held.payload.bytes.len());
                    self.bytes = self.bytes.saturating_sub(freed);
                    self.base += 1;
                }
                None => self.base = instance.0,
            }
        }
    }
}
