//! Whether the replicas of a server that has just started are level with its start. A client that
//! came before would wait for the last of them, and lose its session meanwhile, though another
//! server could have served it. It waits for who comes nearer, however long that takes, and not for
//! who stands still: a partition without a majority must not keep clients from the others.
//! Called by the front end at every settle, until clients are taken.

use volery_proto::ids::Zxid;

use crate::core::types::Now;

/// Nobody waits for longer than this for replicas that do not move.
const PATIENCE_US: u64 = 5_000_000;

/// How far the replicas are on their way to the start.
#[derive(Debug)]
pub(super) struct Level {
    /// The zxid of this start's hello.
    begun: Zxid,
    /// The furthest that each partition was seen at.
    reached: Vec<Zxid>,
    /// If nothing moves until then, monotonic microseconds, it is not waited for.
    by_us: u64,
}

impl Level {
    pub(super) fn new(begun: Zxid, now: Now) -> Level {
        Level { begun, reached: Vec::new(), by_us: now.monotonic_us + PATIENCE_US }
    }

    /// Looks at how far every partition is executed; false once nobody has to wait any longer.
    pub(super) fn awaits(&mut self, positions: impl Iterator<Item = Zxid>, now: Now) -> bool {
        let mut moved = false;
        let mut all_there = true;
        for (at, position) in positions.enumerate() {
            all_there &= position >= self.begun;
            // What happens beyond the start is no reason to wait, nor is a replica elsewhere that
            // is lost and reached again: so the waiting ends.
            let position = position.min(self.begun);
            match self.reached.get_mut(at) {
                Some(reached) => moved |= position > *reached,
                None => self.reached.push(position),
            }
            self.reached[at] = self.reached[at].max(position);
        }
        if moved {
            self.moved(now);
        }
        !all_there && now.monotonic_us < self.by_us
    }

    /// A replica comes nearer.
    pub(super) fn moved(&mut self, now: Now) {
        self.by_us = now.monotonic_us + PATIENCE_US;
    }

    /// When it is to be looked at again though nothing happened, monotonic microseconds.
    pub(super) fn deadline_us(&self) -> u64 {
        self.by_us
    }
}

#[cfg(test)]
mod tests {
    //! Goal: a start waits for what comes nearer, and for nothing else.

    use super::*;

    const BEGUN: u64 = 1000;

    fn at(seconds: u64) -> Now {
        Now { unix_us: 0, monotonic_us: seconds * 1_000_000 }
    }

    fn awaited<const N: usize>(level: &mut Level, positions: [u64; N], seconds: u64) -> bool {
        level.awaits(positions.into_iter().map(Zxid), at(seconds))
    }

    #[test]
    fn who_is_there_is_not_awaited() {
        let mut level = Level::new(Zxid(BEGUN), at(0));
        assert!(awaited(&mut level, [BEGUN, BEGUN - 1], 0));
        assert!(!awaited(&mut level, [BEGUN, BEGUN], 0));
    }

    /// Ten seconds' worth of the log of another server: clients that were taken after five of them
    /// lost their connections.
    #[test]
    fn who_comes_nearer_awaits_however_long_it_takes() {
        let mut level = Level::new(Zxid(BEGUN), at(0));
        for second in 0..60 {
            assert!(awaited(&mut level, [BEGUN, 10 + second], second));
        }
        level.moved(at(62));
        assert!(awaited(&mut level, [BEGUN, 69], 66), "a snapshot for it is arriving");
        assert_eq!(level.deadline_us(), at(67).monotonic_us);
    }

    #[test]
    fn who_stands_still_awaits_for_a_while_only() {
        let mut level = Level::new(Zxid(BEGUN), at(0));
        assert!(awaited(&mut level, [BEGUN, 10], 4));
        assert!(!awaited(&mut level, [BEGUN, 10], 5));
        // Neither the others' commands nor one that comes and goes are of any help to it.
        let mut level = Level::new(Zxid(BEGUN), at(0));
        assert!(awaited(&mut level, [BEGUN, 10], 1));
        assert!(awaited(&mut level, [BEGUN + 50, 0], 2));
        assert!(awaited(&mut level, [BEGUN + 90, 10], 4));
        assert!(!awaited(&mut level, [BEGUN + 99, 10], 5));
    }
}
