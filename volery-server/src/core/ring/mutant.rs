//! Bugs planted on purpose: the simulation must catch each. Not one can be switched on outside
//! of tests. Called where the rule that each leaves out is applied.

/// A rule left out. Rows are those of the list of attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    /// Row 1: the position is what the proposer wrote, not max(start, position + 1).
    StartAsWritten,
    /// Row 2: a decision counts for the payload of any ballot.
    AnyBallot,
    /// Row 3: a candidate does not look at what its quorum has forgotten.
    NoTrimPoint,
    /// Row 4: an acceptor that lost its memory votes.
    LostVotes,
    /// A vote, or a promise, before its record is durable.
    EarlyVote,
    /// Phase 1 takes any accepted value, not that of the highest ballot.
    AnyAccepted,
    /// A majority of the live path is enough.
    PathQuorum,
}

impl super::Ring {
    #[cfg(test)]
    pub(super) fn mutant(&self, mutant: Mutant) -> bool {
        self.planted == Some(mutant)
    }

    #[cfg(all(not(test), feature = "mutants"))]
    #[allow(clippy::unused_self)]
    pub(super) fn mutant(&self, mutant: Mutant) -> bool {
        use crate::core::mutation::{Mutation, is_planted};
        is_planted(match mutant {
            Mutant::StartAsWritten => Mutation::StartAsWritten,
            Mutant::AnyBallot => Mutation::PayloadOfAnyBallot,
            Mutant::NoTrimPoint => Mutation::TrimPointIgnored,
            Mutant::LostVotes => Mutation::LostVotes,
            Mutant::EarlyVote => Mutation::VoteBeforeSync,
            Mutant::AnyAccepted => Mutation::AnyAccepted,
            Mutant::PathQuorum => Mutation::PathQuorum,
        })
    }

    #[cfg(not(any(test, feature = "mutants")))]
    #[allow(clippy::unused_self)]
    pub(super) const fn mutant(&self, _: Mutant) -> bool {
        false
    }
}
