//! Exactly once: the last number of every front end in this partition's two rings. A lower
//! number was executed, a higher one waits for those between (its front end sends them again).
//! Replicated state; it never looks at what a command does. Called on delivery.

use std::collections::BTreeMap;

use volery_proto::command::{Command, Operation};
use volery_proto::ids::{RingId, ServerId, Zxid};

use crate::core::mutation::mutated;

/// What is known of one front end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrontEnd {
    /// The zxid of its hello.
    pub(super) incarnation: Zxid,
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
        let front_end = self.known.entry(origin.server).or_default();
        if command.operation == Operation::Hello {
            *front_end = FrontEnd { incarnation: zxid, ..FrontEnd::default() };
            return Turn::Hello;
        }
        if origin.incarnation < front_end.incarnation {
            return Turn::Pass;
        }
        if origin.incarnation > front_end.incarnation {
            *front_end = FrontEnd { incarnation: origin.incarnation, ..FrontEnd::default() };
        }
        let last = if ring == RingId::GLOBAL { &mut front_end.global } else { &mut front_end.own };
        if origin.sequence != *last + 1 && !mutated!(NoDuplicateTable) {
            return Turn::Pass;
        }
        *last = origin.sequence;
        if command.operation == Operation::Noop { Turn::Pass } else { Turn::Execute }
    }
}
