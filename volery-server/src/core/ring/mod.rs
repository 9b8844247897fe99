//! One ring: Ring Paxos as a pure state machine. DESIGN sections 3 and 4; U-Ring Paxos.
//! It never reads a clock, a disk or a socket, and never decides what a command means.
//! Driven by `node/`: every event goes in with the time, and effects come out into a `Vec`.
//!
//! ```text
//!   propose, request_skip ──► waiting ── flush ──► Phase 2 ──► Append ──► (log) ── durable ──┐
//!                                        │  window │  Send Accept ──► next on the path       │
//!   handle_message ◄── peers             │         ▼                                         ▼
//!     Prepare/Promise  election ─────────┘      store (instances in memory) ◄────── own vote │
//!     Accept/Votes     acceptor ──► Append,     │                                            │
//!     Decision         learner  ──► Decided     └──► a majority of votes: Send Decision ◄────┘
//!     CatchUp/Learned  learner  ──► Decided            │
//!     Rejoin           rejoin                          └──► Decided, in instance order, once
//!   tick, suspect, restored ──► election, resend, catch-up        Fatal: the process must end
//! ```
//!
//! How to drive it: `Ring::new`, `start_at` (the snapshot's cursor), `start`; then per event its
//! verb, and `flush` once after a batch of events. Effects are carried out in their order; after a
//! sync of the log `durable` is called with the highest number synced.

mod acceptor;
mod check;
mod coordinator;
mod dispatch;
mod effect;
mod election;
mod layout;
mod learner;
mod log_values;
mod message;
mod mutant;
mod record;
mod rejoin;
mod store;
#[cfg(test)]
mod tests;
mod trim;
mod weight;

use std::collections::BTreeSet;

use volery_proto::command::Command;
use volery_proto::ids::{Ballot, Instance, ServerId, Slot};

pub use coordinator::next_beat;
pub use effect::{Effect, Now, RingConfig, RingError};
pub use learner::LEARNED_MAX;
pub use log_values::LogValues;
pub use message::{Promise, Proposed, RingMessage};
pub use record::{LogRecordBody, RecoveredRing};
pub use weight::weight;

use acceptor::Acceptor;
use coordinator::Coordinator;
use election::Election;
use layout::Layout;
use learner::Learner;
use mutant::Mutant;
use rejoin::Rejoin;
use store::Store;

/// One ring at one server: acceptor, learner and, where it leads, coordinator.
#[derive(Debug)]
pub struct Ring {
    config: RingConfig,
    layout: Layout,
    store: Store,
    acceptor: Acceptor,
    learner: Learner,
    coordinator: Coordinator,
    election: Election,
    rejoin: Rejoin,
    suspects: BTreeSet<ServerId>,
    /// Nothing is forgotten from here on, but for want of memory.
    hold_from: Instance,
    /// The time of the last event that had one.
    seen: Now,
    failed: bool,
    #[cfg(test)]
    planted: Option<mutant::Mutant>,
}

impl Ring {
    /// A ring as the log left it. Nothing is delivered or sent before `start`.
    ///
    /// # Errors
    /// The log contradicts itself.
    pub fn new(config: RingConfig, recovered: RecoveredRing) -> Result<Ring, RingError> {
        let layout = Layout::new(&config);
        let alone = layout.alone() && config.observers.is_empty();
        let mut ring = Ring {
            layout,
            store: Store::default(),
            acceptor: Acceptor::new(&recovered),
            learner: Learner::new(recovered.trim),
            coordinator: Coordinator::default(),
            election: Election::new(config.seed, config.me),
            rejoin: Rejoin::default(),
            suspects: BTreeSet::new(),
            hold_from: if alone { Instance(u64::MAX) } else { recovered.trim.0 },
            seen: Now::default(),
            failed: false,
            #[cfg(test)]
            planted: None,
            config,
        };
        ring.store.forget_below(recovered.trim.0);
        for (instance, held) in recovered.accepted {
            let ballot = held.ballot;
            let decided = instance < recovered.decided || ring.layout.alone();
            if let Some(cell) = ring.store.hold(instance, held) {
                cell.decided = decided.then_some(ballot);
                // What the log holds at a start is durable: it votes when it is asked again.
                cell.votes = if ring.acceptor.lost { 0 } else { ring.layout.my_bit() };
            }
        }
        ring.check_recovered()?;
        Ok(ring)
    }

    /// The learner begins at a snapshot's cursor: decided values below it are not delivered again.
    /// Before `start`; afterwards it is `install`.
    ///
    /// # Errors
    /// The log begins above the cursor, or contradicts it.
    pub fn start_at(&mut self, instance: Instance, position: Slot) -> Result<(), RingError> {
        let complete = self.check_cursor(instance, position)?;
        self.learner.jump(instance, position);
        if complete {
            self.forget();
        } else {
            self.cut_at(instance, position);
        }
        Ok(())
    }

    /// Delivers what the log knows to be decided, and begins to take part.
    pub fn start(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.seen = now;
        self.log_cut(effects);
        self.deliver(effects);
        if self.layout.alone() && !self.acceptor.lost {
            let ballot = self.next_ballot();
            self.promise_own(ballot, effects);
            self.lead(ballot, now, effects);
        } else if self.acceptor.lost {
            if self.mutant(Mutant::LostVotes) {
                self.acceptor.lost = false;
            }
            // Kept in the log until it has rejoined, whatever interrupts it.
            self.promise_own(Ballot::default(), effects);
        }
        self.rearm(0, now);
        self.go_on(now, effects);
    }

    /// A fetched snapshot with this cursor is installed: goes on from there.
    pub fn install(
        &mut self,
        instance: Instance,
        position: Slot,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.seen = now;
        if self.learner.jump(instance, position) {
            self.cut_at(instance, position);
            self.log_cut(effects);
            self.deliver(effects);
        }
        self.go_on(now, effects);
    }

    /// The log has synced every append up to `number`: votes count from here on.
    pub fn durable(&mut self, number: u64, effects: &mut Vec<Effect>) {
        self.acceptor.durable = self.acceptor.durable.max(number);
        self.count_durable(effects);
        if !self.layout.alone() {
            let now = self.seen;
            self.conclude(now, effects);
        }
    }

    /// Queues commands, in order. False (nothing queued): this server does not coordinate.
    pub fn propose(&mut self, commands: Vec<Command>) -> bool {
        if !self.is_coordinator() {
            return false;
        }
        self.coordinator.waiting.extend(commands);
        true
    }

    /// Somebody waits for this ring to pass `through`; the highest demand is remembered.
    pub fn request_skip(&mut self, through: Slot) {
        self.coordinator.demanded = self.coordinator.demanded.max(through);
    }

    /// Whether this server orders commands.
    #[must_use]
    pub fn is_coordinator(&self) -> bool {
        self.coordinator.ballot.is_some()
    }

    /// Whether `flush` would have room for a value.
    #[must_use]
    pub fn can_propose(&self) -> bool {
        self.is_coordinator() && self.in_flight() < self.config.window
    }

    /// Whether commands wait for room.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.coordinator.waiting.is_empty()
    }

    /// Commands that wait for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.coordinator.waiting.len()
    }

    /// The highest slot that was ever demanded.
    #[must_use]
    pub fn demanded(&self) -> Slot {
        self.coordinator.demanded
    }

    /// Instances proposed here and not yet decided.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let open = self.coordinator.next.0.saturating_sub(self.learner.next.0);
        if self.is_coordinator() { usize::try_from(open).unwrap_or(usize::MAX) } else { 0 }
    }

    /// The ring's position after everything proposed here.
    #[must_use]
    pub fn proposed_position(&self) -> Slot {
        let proposed = if self.is_coordinator() { self.coordinator.proposed } else { Slot(0) };
        proposed.max(self.learner.position)
    }

    /// The ring's position after everything decided and delivered.
    #[must_use]
    pub fn position(&self) -> Slot {
        self.learner.position
    }

    /// The learner's cursor: the next instance to deliver, and the position before it.
    #[must_use]
    pub fn cursor(&self) -> (Instance, Slot) {
        (self.learner.next, self.learner.position)
    }

    /// One above the highest instance of which anything is known here.
    #[must_use]
    pub fn end(&self) -> Instance {
        self.store.end().max(self.learner.next)
    }

    /// The first instance that this server can still tell a learner that lags: an acceptor has in
    /// its log what it has no more in memory.
    #[must_use]
    pub fn kept_from(&self) -> Instance {
        match self.layout.is_member() {
            true => self.store.base().min(self.learner.trim.0),
            false => self.store.base(),
        }
    }

    /// The first instance that is in memory.
    #[must_use]
    pub fn memory_from(&self) -> Instance {
        self.store.base()
    }

    /// The ballot that this acceptor has promised.
    #[must_use]
    pub fn promised(&self) -> Ballot {
        self.acceptor.promised
    }

    /// Whether this acceptor has lost its memory and does not vote yet.
    #[must_use]
    pub fn is_memory_lost(&self) -> bool {
        self.acceptor.lost && self.layout.is_member()
    }

    fn fail(&mut self, error: RingError, effects: &mut Vec<Effect>) {
        self.failed = true;
        effects.push(Effect::Fatal(error));
    }
}
