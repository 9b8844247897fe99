//! The numbers of this front end's commands in one ring, and who waits for the result of each.
//! It proposes nothing and keeps no command. Called by the front end where it proposes, and where
//! a result comes back.

use std::collections::VecDeque;

use crate::core::types::ConnId;

/// Whose result a numbered command's is.
#[derive(Clone, Debug)]
pub(super) enum Waiter {
    /// Nobody's: the hello, an expiry, the reaper.
    Nobody,
    /// The handshake of this connection.
    Handshake(ConnId),
    /// This request of this connection.
    Request(ConnId, u64),
    /// The reads of these connections that wait for a barrier.
    Barrier(Vec<ConnId>),
}

/// The numbering of commands in one ring.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// The number of `waiters[0]`.
    first: u64,
    waiters: VecDeque<Option<Waiter>>,
}

impl Numbering {
    /// Takes the next number.
    pub(super) fn next(&mut self, waiter: Waiter) -> u64 {
        if self.waiters.is_empty() && self.first == 0 {
            self.first = 1;
        }
        self.waiters.push_back(Some(waiter));
        self.first + self.waiters.len() as u64 - 1
    }

    /// Who waits for it; only once.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Waiter> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let waiter = self.waiters.get_mut(at)?.take();
        self.settle();
        waiter
    }

    fn settle(&mut self) {
        while matches!(self.waiters.front(), Some(None)) {
            self.waiters.pop_front();
            self.first += 1;
        }
    }

    /// No result through this number will come.
    pub(super) fn discard_through(&mut self, sequence: u64) {
        while self.first <= sequence && self.waiters.pop_front().is_some() {
            self.first += 1;
        }
        self.settle();
    }

    /// Forgets whoever waits no more.
    pub(super) fn retain(&mut self, waits: impl Fn(&Waiter) -> bool) {
        for waiter in &mut self.waiters {
            if waiter.as_ref().is_some_and(|waiter| !waits(waiter)) {
                *waiter = None;
            }
        }
        self.settle();
    }
}
