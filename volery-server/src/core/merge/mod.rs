//! The deterministic merge of a partition's two rings by zxid, and the cursor that a snapshot
//! keeps. Delivers a command once both rings are decided through its slot; skips only advance.
//! It never looks into commands. Called by the partition replica. DESIGN section 4.

pub mod skip;

use crate::core::mutation::mutated;
use std::collections::VecDeque;
use std::sync::Arc;

use volery_proto::command::{Command, Value};
use volery_proto::ids::{Instance, RingId, Slot, Zxid};

/// How far a learner has come in one ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The next instance.
    pub instance: Instance,
    /// The ring's position before it.
    pub position: Slot,
    /// Commands of that instance that were delivered already.
    pub index: u64,
}

/// A decided value and where it begins.
#[derive(Clone, Debug)]
struct Queued {
    instance: Instance,
    start: Slot,
    /// The ring's position before this value.
    before: Slot,
    value: Arc<Value>,
}

/// One ring as the merge sees it.
#[derive(Debug)]
struct Stream {
    ring: RingId,
    queue: VecDeque<Queued>,
    /// Commands of the front value that were delivered.
    index: usize,
    next: Instance,
    position: Slot,
}

impl Stream {
    fn new(ring: RingId, cursor: Cursor) -> Stream {
        let Cursor { instance, position, index } = cursor;
        Stream { ring, queue: VecDeque::new(), index: index as usize, next: instance, position }
    }

    fn head(&self) -> Option<Zxid> {
        let front = self.queue.front()?;
        Some(Zxid::new(Slot(front.start.0 + self.index as u64), self.ring))
    }

    fn cursor(&self) -> Cursor {
        match self.queue.front() {
            Some(front) => Cursor {
                instance: front.instance,
                position: front.before,
                index: self.index as u64,
            },
            // Without a queue, `index` is only what a snapshot left to skip in the next value.
            None => {
                Cursor { instance: self.next, position: self.position, index: self.index as u64 }
            }
        }
    }
}

/// One command as the merge delivers it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its place in the order of the whole service.
    pub zxid: Zxid,
    /// The coordinator's clock when it was proposed, Unix milliseconds.
    pub time_ms: u64,
    value: Arc<Value>,
    index: usize,
}

impl Delivery {
    /// One that was delivered before, from a snapshot.
    #[must_use]
    pub fn again(zxid: Zxid, time_ms: u64, command: Command) -> Delivery {
        let value = Value { start: zxid.slot(), time_ms, commands: vec![command] };
        Delivery { zxid, time_ms, value: Arc::new(value), index: 0 }
    }

    /// The command.
    #[must_use]
    pub fn command(&self) -> &Command {
        &self.value.commands[self.index]
    }
}

/// The merge of ring 0 and a partition's own ring.
#[derive(Debug)]
pub struct Merge {
    streams: [Stream; 2],
}

impl Merge {
    /// Starts (again) at these cursors.
    #[must_use]
    pub fn new(global: Cursor, ring: RingId, own: Cursor) -> Merge {
        Merge { streams: [Stream::new(RingId::GLOBAL, global), Stream::new(ring, own)] }
    }

    fn stream(&mut self, ring: RingId) -> &mut Stream {
        let [global, own] = &mut self.streams;
        if ring == RingId::GLOBAL { global } else { own }
    }

    /// Takes a decided value of one of the two rings; in instance order, older ones are passed.
    /// Returns whether it was the next one or older: a gap is the caller's broken invariant.
    #[must_use]
    pub fn push(&mut self, ring: RingId, instance: Instance, value: &Arc<Value>) -> bool {
        let stream = self.stream(ring);
        if instance < stream.next {
            return true;
        }
        if instance > stream.next {
            return false;
        }
        let before = stream.position;
        stream.next = Instance(instance.0 + 1);
        stream.position = value.end(before);
        if !value.commands.is_empty() {
            let start =
                if mutated!(SlotsGoBack) { value.start } else { value.effective_start(before) };
            stream.queue.push_back(Queued { instance, start, before, value: value.clone() });
        }
        true
    }

    /// The next command in zxid order, if both rings are known through it.
    pub fn pop(&mut self) -> Option<Delivery> {
        let [global, own] = &self.streams;
        let (at, zxid) = match (global.head(), own.head()) {
            (Some(a), Some(b)) if a < b => (0, a),
            (_, Some(b)) => (1, b),
            (Some(a), None) => (0, a),
            (None, None) => return None,
        };
        if self.streams[1 - at].position < zxid.slot() {
            return None;
        }
        let stream = &mut self.streams[at];
        let front = stream.queue.front()?;
        let delivery = Delivery {
            zxid,
            time_ms: front.value.time_ms,
            value: front.value.clone(),
            index: stream.index,
        };
        stream.index += 1;
        if stream.index == front.value.commands.len() {
            stream.queue.pop_front();
            stream.index = 0;
        }
        Some(delivery)
    }

    /// For a mutant: a command of ring 0 that is decided and not yet delivered.
    #[cfg(feature = "mutants")]
    pub fn foresee(&self, zxid: Zxid) -> Option<Delivery> {
        let found = self.streams[0].queue.iter().find_map(|queued| {
            let index = usize::try_from(zxid.slot().0.checked_sub(queued.start.0)?).ok()?;
            (index < queued.value.commands.len()).then_some((queued, index))
        });
        let (queued, index) = found?;
        let (time_ms, value) = (queued.value.time_ms, queued.value.clone());
        Some(Delivery { zxid, time_ms, value, index })
    }

    /// Everything up to here was delivered: the position below the next possible command.
    #[must_use]
    pub fn position(&self) -> Zxid {
        let [global, own] = &self.streams;
        let known = Zxid::through(global.position.min(own.position));
        match global.head().into_iter().chain(own.head()).min() {
            Some(head) => known.min(Zxid(head.0 - 1)),
            None => known,
        }
    }

    /// The slot that a ring has to pass for the next command to be delivered, and which ring.
    #[must_use]
    pub fn wanted(&self) -> Option<(RingId, Slot)> {
        let [global, own] = &self.streams;
        let head = global.head().into_iter().chain(own.head()).min()?;
        let behind = if head.ring() == RingId::GLOBAL { own } else { global };
        (behind.position < head.slot()).then(|| (behind.ring, head.slot()))
    }

    /// The cursors of ring 0 and of the partition's own ring.
    #[must_use]
    pub fn cursors(&self) -> (Cursor, Cursor) {
        (self.streams[0].cursor(), self.streams[1].cursor())
    }
}

#[cfg(test)]
mod tests {
    use volery_proto::command::{Operation, Origin};

    use super::*;

    fn value(start: u64, commands: usize) -> Arc<Value> {
        let command = Command {
            origin: Origin::default(),
            session: Default::default(),
            epoch: Zxid::ZERO,
            identities: Arc::new([]),
            after: Zxid::ZERO,
            map_version: 1,
            flags: Default::default(),
            operation: Operation::Noop,
        };
        Arc::new(Value { start: Slot(start), time_ms: 0, commands: vec![command; commands] })
    }

    fn drain(merge: &mut Merge) -> Vec<(u64, u16)> {
        std::iter::from_fn(|| merge.pop()).map(|d| (d.zxid.slot().0, d.zxid.ring().0)).collect()
    }

    #[test]
    fn delivers_in_zxid_order_once_both_rings_have_passed() {
        let own = RingId(3);
        let mut merge = Merge::new(Cursor::default(), own, Cursor::default());
        assert!(merge.push(own, Instance(0), &value(100, 2)));
        assert_eq!(drain(&mut merge), []);
        assert_eq!(merge.wanted(), Some((RingId::GLOBAL, Slot(100))));
        assert!(merge.push(RingId::GLOBAL, Instance(0), &value(100, 1)));
        assert_eq!(drain(&mut merge), [(100, 0), (100, 3)]);
        assert_eq!(merge.position(), Zxid::through(Slot(100)));
        assert!(merge.push(RingId::GLOBAL, Instance(1), &value(150, 0)));
        assert_eq!(drain(&mut merge), [(101, 3)]);
        assert_eq!(merge.position(), Zxid::through(Slot(101)));
    }

    /// ATTACKS row 1: a re-proposed old value moves up instead of going back.
    #[test]
    fn slots_never_go_back() {
        let own = RingId(1);
        let mut merge = Merge::new(Cursor::default(), own, Cursor::default());
        assert!(merge.push(RingId::GLOBAL, Instance(0), &value(5000, 0)));
        assert!(merge.push(own, Instance(0), &value(1000, 11)));
        assert!(merge.push(own, Instance(1), &value(111, 2)));
        let slots: Vec<u64> = drain(&mut merge).into_iter().map(|(slot, _)| slot).collect();
        assert!(slots.windows(2).all(|w| w[0] < w[1]), "{slots:?}");
        assert_eq!(slots.last(), Some(&1012));
    }

    #[test]
    fn a_cursor_resumes_in_the_middle_of_a_value() {
        let own = RingId(1);
        let mut merge = Merge::new(Cursor::default(), own, Cursor::default());
        let values = [value(10, 3), value(0, 1)];
        assert!(merge.push(RingId::GLOBAL, Instance(0), &value(11, 0)));
        assert!(merge.push(own, Instance(0), &values[0]));
        assert_eq!(drain(&mut merge).len(), 2);
        let (global, cursor) = merge.cursors();
        let mut again = Merge::new(global, own, cursor);
        for (i, value) in values.iter().enumerate() {
            assert!(again.push(own, Instance(i as u64), value));
        }
        assert!(again.push(RingId::GLOBAL, Instance(1), &value(99, 0)));
        assert_eq!(drain(&mut again), [(12, 1), (13, 1)]);
        assert!(!again.push(own, Instance(7), &values[0]), "a gap is reported");
    }
}
