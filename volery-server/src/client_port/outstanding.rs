//! Requests that the core has and has not answered: of one connection they are many or large,
//! never both; over all connections there are not many more than `globalOutstandingLimit`.
//! It only counts: a connection that has no room waits for its own answers, never for another's.
//!
//! The crowd is looked at where it is counted, once for each piece that goes to the core or comes
//! back, so the limit is passed by one piece of each connection at most. Used by connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use volery_proto::limits::{MAX_CONNECTION_OUTSTANDING, MAX_CONNECTION_OUTSTANDING_BYTES};

/// The requests of all connections.
#[derive(Debug)]
pub(super) struct Crowd {
    requests: AtomicUsize,
    limit: usize,
}

impl Crowd {
    pub(super) fn new(limit: usize) -> Crowd {
        Crowd { requests: AtomicUsize::new(0), limit }
    }

    /// So many more; returns whether they are too many now.
    fn add(&self, more: usize) -> bool {
        self.requests.fetch_add(more, Ordering::Relaxed) + more > self.limit
    }

    /// So many less; returns whether they are still too many.
    fn remove(&self, less: usize) -> bool {
        self.requests.fetch_sub(less, Ordering::Relaxed) - less > self.limit
    }
}

/// The requests of one connection.
#[derive(Debug)]
pub(super) struct Outstanding {
    /// The size of each, in order: replies come in the order of the requests.
    sizes: VecDeque<usize>,
    bytes: usize,
    crowd: Arc<Crowd>,
    /// How many of them the crowd counts.
    counted: usize,
    /// Whether there were too many when the crowd was last looked at.
    crowded: bool,
}

impl Outstanding {
    pub(super) fn new(crowd: Arc<Crowd>) -> Outstanding {
        Outstanding { sizes: VecDeque::new(), bytes: 0, crowd, counted: 0, crowded: false }
    }

    /// A request is read.
    pub(super) fn add(&mut self, bytes: usize) {
        self.sizes.push_back(bytes);
        self.bytes += bytes;
    }

    /// Those that were read go to the core.
    pub(super) fn handed_over(&mut self) {
        self.crowded = self.crowd.add(self.sizes.len() - self.counted);
        self.counted = self.sizes.len();
    }

    /// The oldest were answered.
    pub(super) fn answered(&mut self, replies: usize) {
        let replies = replies.min(self.counted);
        if replies > 0 {
            self.bytes -= self.sizes.drain(..replies).sum::<usize>();
            self.counted -= replies;
            self.crowded = self.crowd.remove(replies);
        }
    }

    /// Whether another may be read. In a crowd one by one, as ZooKeeper does it: whoever waits for
    /// an answer is not read, and whoever waits for none has nothing else to wake it.
    pub(super) fn has_room(&self) -> bool {
        if self.crowded {
            return self.sizes.is_empty();
        }
        self.sizes.len() < MAX_CONNECTION_OUTSTANDING
            && self.bytes < MAX_CONNECTION_OUTSTANDING_BYTES
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.crowd.remove(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(outstanding: &mut Outstanding, requests: usize) -> usize {
        let room = |o: &mut Outstanding| o.has_room().then(|| o.add(8));
        let read = (0..requests).map_while(|_| room(outstanding)).count();
        outstanding.handed_over();
        read
    }

    #[test]
    fn outstanding_requests_are_many_or_large_never_both() {
        let mut outstanding = Outstanding::new(Arc::new(Crowd::new(usize::MAX)));
        assert_eq!(read(&mut outstanding, usize::MAX), MAX_CONNECTION_OUTSTANDING);
        outstanding.answered(1);
        assert!(outstanding.has_room());
        outstanding.add(MAX_CONNECTION_OUTSTANDING_BYTES);
        assert!(!outstanding.has_room());
        outstanding.handed_over();
        // More answers than requests: the handshake's bytes count none, and nothing underflows.
        outstanding.answered(usize::MAX);
        assert_eq!((outstanding.bytes, outstanding.has_room()), (0, true));
    }

    /// Goal: above the limit a connection is read one request at a time, below it freely; what a
    /// connection leaves behind when it goes is counted no more.
    #[test]
    fn in_a_crowd_whoever_waits_for_an_answer_is_not_read() {
        let crowd = Arc::new(Crowd::new(10));
        let [mut one, mut other] = [(); 2].map(|()| Outstanding::new(crowd.clone()));
        assert_eq!(read(&mut one, 6), 6);
        // Nobody knew of a crowd before this piece.
        assert_eq!(read(&mut other, 6), 6);
        assert_eq!(read(&mut other, 6), 0);
        other.answered(1);
        assert_eq!(read(&mut other, 9), 0, "eleven are one too many");
        other.answered(1);
        assert_eq!(read(&mut other, 9), 9);
        other.answered(13);
        assert!(other.has_room());
        assert_eq!(read(&mut one, 5), 5);
        assert_eq!(read(&mut other, 3), 3);
        assert_eq!(read(&mut other, 3), 0);
        other.answered(3);
        assert_eq!(read(&mut other, 3), 1, "in a crowd nobody is left out, and nobody has two");
        drop(one);
        other.answered(1);
        assert_eq!(read(&mut other, 10), 10);
        drop(other);
        assert_eq!(crowd.requests.load(Ordering::Relaxed), 0);
    }
}
