//! Exactly once: the last number of every front end in this partition's two rings. A lower
//! number was executed, a higher one waits for those between (its front end sends them again).
//! Replicated state; it never looks at what a command does. Called on delivery.

use std::collections::BTreeMap;

use volery_proto::command::{Command, Operation, Origin};
use volery_proto::ids::{RingId, ServerId, Zxid};

use crate::core::mutation::mutated;

/// What is known of one front end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrontEnd {
    /// The zxid of its hello.
    pub(super) incarnation: Zxid,
    /// The number of its start, as the hello says.
    pub(super) start: u64,
    /// Last number executed in ring 0, and in the partition's own ring.
    pub(super) global: u64,
    pub(super) own: u64,
}

/// All front ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FrontEnds {
    pub(super) known: BTreeMap<ServerId, FrontEnd>,
}

/// What to do with a delivered command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Execute,
    /// A new incarnation began.
    Hello,
    /// A duplicate, an older incarnation's, or one whose predecessors are missing.
    Pass,
}

impl FrontEnds {
    /// Counts a command. On ring 0 every partition counts all of them, addressed or not: else one
    /// that was passed over would ignore the next (ATTACKS row 5).
    pub(super) fn turn(&mut self, command: &Command, ring: RingId, zxid: Zxid) -> Turn {
        let origin = command.origin;
        if command.operation == Operation::Hello {
            return self.hello(origin, zxid);
        }
        let front_end = self.known.entry(origin.server).or_default();
        // Its own hello has a lower zxid (`after`), so a newer incarnation's is known by now.
        if origin.incarnation != front_end.incarnation {
            return Turn::Pass;
        }
        let last = if ring == RingId::GLOBAL { &mut front_end.global } else { &mut front_end.own };
        if origin.sequence != *last + 1 && !mutated!(NoDuplicateTable) {
            return Turn::Pass;
        }
        *last = origin.sequence;
        if command.operation == Operation::Noop { Turn::Pass } else { Turn::Execute }
    }

    /// A front end begins, once for each start: a hello that a ring decides twice, or decides
    /// when the server has started again since, changes nothing. Else the front end would go on
    /// under the first zxid and be fenced by the second.
    fn hello(&mut self, origin: Origin, zxid: Zxid) -> Turn {
        let known = self.known.get(&origin.server);
        if known.is_some_and(|known| origin.sequence <= known.start) && !mutated!(HelloTwice) {
            return Turn::Pass;
        }
        let started = FrontEnd { incarnation: zxid, start: origin.sequence, ..FrontEnd::default() };
        self.known.insert(origin.server, started);
        Turn::Hello
    }
}
