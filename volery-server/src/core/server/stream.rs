//! One direction of an attachment and what was seen of the other: items numbered from 0, said
//! again until the other side has seen them, taken in their order and once. Losses, doubles and
//! reordering of messages are no matter; only the loss of a side is.
//! It sends nothing itself. Used by both sides of attachments.

use std::collections::VecDeque;

/// Items in one message.
const BATCH: usize = 1024;
/// Their weight, about bytes.
const BATCH_WEIGHT: usize = 1 << 20;
/// What the other side has not seen: beyond it is too slow to be served.
const UNSEEN_MAX: usize = 1 << 17;
/// Its weight, about bytes.
const UNSEEN_WEIGHT_MAX: usize = 256 << 20;
/// The other side hears that something was seen within this part of a resend, if there is nothing
/// else to say.
const ACKS_A_RESEND: u64 = 4;

/// What one side says, and how much it has seen.
#[derive(Debug)]
pub(super) struct Stream<T> {
    unseen: VecDeque<(T, usize)>,
    /// The number of `unseen[0]`.
    first: u64,
    /// How many of `unseen` were sent.
    sent: usize,
    weight: usize,
    resend_at: u64,
    /// So many of the other side's items were taken.
    seen: u64,
    /// When to say so.
    ack_at: Option<u64>,
}

/// A message's part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// The number of the first item.
    pub first: u64,
    /// So many items of the other side were taken.
    pub seen: u64,
    /// In order.
    pub items: Vec<T>,
}

impl<T: Clone> Stream<T> {
    pub(super) fn new() -> Stream<T> {
        Stream {
            unseen: VecDeque::new(),
            first: 0,
            sent: 0,
            weight: 0,
            resend_at: 0,
            seen: 0,
            ack_at: None,
        }
    }

    /// Says something; `weight` is about its bytes.
    pub(super) fn say(&mut self, item: T, weight: usize) {
        self.unseen.push_back((item, weight));
        self.weight += weight;
    }

    /// Whether there is something to say for the first time.
    pub(super) fn has_news(&self) -> bool {
        self.sent < self.unseen.len()
    }

    /// The other side does not follow.
    pub(super) fn is_full(&self) -> bool {
        self.unseen.len() > UNSEEN_MAX || self.weight > UNSEEN_WEIGHT_MAX
    }

    /// Takes a batch of the other side's: the items that are new.
    pub(super) fn take<U>(&mut self, batch: Batch<U>, now_us: u64, resend_us: u64) -> Vec<U> {
        while self.first < batch.seen {
            let Some((_, weight)) = self.unseen.pop_front() else { break };
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
            self.weight -= weight;
            self.resend_at = now_us + resend_us;
        }
        if !batch.items.is_empty() {
            self.ack_at.get_or_insert(now_us + resend_us / ACKS_A_RESEND);
        }
        // With a gap before it, it comes again.
        let Some(known) = self.seen.checked_sub(batch.first) else { return Vec::new() };
        let new: Vec<U> =
            batch.items.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX)).collect();
        self.seen += new.len() as u64;
        new
    }

    /// The next message, if one is due.
    pub(super) fn next(&mut self, now_us: u64, resend_us: u64) -> Option<Batch<T>> {
        if self.sent > 0 && now_us >= self.resend_at {
            self.sent = 0;
        }
        let ack = self.ack_at.is_some_and(|at| now_us >= at);
        if !self.has_news() && !ack {
            return None;
        }
        if self.sent == 0 {
            self.resend_at = now_us + resend_us;
        }
        let (mut items, mut weight) = (Vec::new(), 0);
        for (item, bytes) in self.unseen.iter().skip(self.sent) {
            if items.len() == BATCH || weight >= BATCH_WEIGHT {
                break;
            }
            weight += bytes;
            items.push(item.clone());
        }
        let first = self.first + self.sent as u64;
        self.sent += items.len();
        self.ack_at = None;
        Some(Batch { first, seen: self.seen, items })
    }

    /// A message that says nothing new: whoever does not know this side any more will say so.
    pub(super) fn probe(&self) -> Batch<T> {
        Batch { first: self.first + self.sent as u64, seen: self.seen, items: Vec::new() }
    }

    /// When `next` has something to say that it has not now.
    pub(super) fn deadline_us(&self) -> Option<u64> {
        let resend = (self.sent > 0).then_some(self.resend_at);
        resend.into_iter().chain(self.ack_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(stream: &mut Stream<u32>, now_us: u64) -> Option<Batch<u32>> {
        stream.next(now_us, 100)
    }

    /// Goal: whatever is lost, doubled or late, each item is taken once and in order.
    #[test]
    fn items_come_once_and_in_order() {
        let (mut one, mut other) = (Stream::new(), Stream::<u32>::new());
        (0..3).for_each(|item| one.say(item, 1));
        let lost = batch(&mut one, 0).expect("news");
        one.say(3, 1);
        let gap = batch(&mut one, 1).expect("news");
        assert_eq!(other.take(gap, 1, 100), Vec::<u32>::new());
        assert_eq!(batch(&mut one, 50), None);
        let again = batch(&mut one, 101).expect("nothing was seen");
        assert_eq!(other.take(again.clone(), 102, 100), [0, 1, 2, 3]);
        assert_eq!(other.take(again, 102, 100), Vec::<u32>::new());
        assert_eq!(other.take(lost, 103, 100), Vec::<u32>::new());
        let seen = batch(&mut other, 200).expect("it says what it has seen");
        assert!(seen.items.is_empty());
        assert_eq!(one.take(seen, 201, 100), Vec::<u32>::new());
        assert_eq!((one.deadline_us(), batch(&mut one, 1000)), (None, None));
    }

    /// Goal: what is on its way is not sent again with what comes later.
    #[test]
    fn only_news_are_sent() {
        let mut one = Stream::new();
        one.say(7, 1);
        assert_eq!(batch(&mut one, 0).map(|b| b.items), Some(vec![7]));
        one.say(8, 1);
        let next = batch(&mut one, 10).expect("news");
        assert_eq!((next.first, next.items), (1, vec![8]));
    }
}
