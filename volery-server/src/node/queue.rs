//! The queue into the core thread: many senders, one receiver that takes everything at once.
//! It never waits on the sending side. Used by the node.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
struct State<T> {
    items: Vec<T>,
    waiting: bool,
}

/// An unbounded queue; what goes in is bounded where it comes from (outstanding requests of each
/// connection, one completion for each sync).
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Queue<T> {
        let state = Mutex::new(State { items: Vec::new(), waiting: false });
        Queue { state, filled: Condvar::new() }
    }

    /// Adds an item; wakes the receiver only if it sleeps.
    pub(super) fn push(&self, item: T) {
        let mut state = self.state.lock();
        state.items.push(item);
        if std::mem::take(&mut state.waiting) {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Adds an item that can wait until something else wakes the receiver.
    pub(super) fn push_quietly(&self, item: T) {
        self.state.lock().items.push(item);
    }

    /// Takes everything, after waiting for something for `timeout` at most (`None`: without end).
    pub(super) fn take(&self, into: &mut Vec<T>, timeout: Option<Duration>) {
        let mut state = self.state.lock();
        if state.items.is_empty() && timeout != Some(Duration::ZERO) {
            state.waiting = true;
            match timeout {
                Some(timeout) => {
                    self.filled.wait_for(&mut state, timeout);
                }
                None => self.filled.wait(&mut state),
            }
            state.waiting = false;
        }
        std::mem::swap(&mut state.items, into);
    }
}
