//! Planted faults: each leaves out one rule of DESIGN.md, so that the simulation can show that a
//! property catches it. Compiled under the feature `mutants` only; otherwise every check is the
//! constant `false`. Asked for by `mutated!` at the rule itself; set by `tests/sim/mutants.rs`.

/// Whether the named rule is left out just now.
#[cfg(feature = "mutants")]
macro_rules! mutated {
    ($name:ident) => {
        $crate::core::mutation::is_planted($crate::core::mutation::Mutation::$name)
    };
}

/// Whether the named rule is left out just now: never, in this build.
#[cfg(not(feature = "mutants"))]
macro_rules! mutated {
    ($name:ident) => {
        $crate::core::mutation::never()
    };
}

/// A function where `false` would do: clippy simplifies conditions with literals.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn never() -> bool {
    false
}

pub(crate) use mutated;

#[cfg(feature = "mutants")]
pub use planted::{Mutation, is_planted, plant};

#[cfg(feature = "mutants")]
mod planted {
    use std::cell::Cell;

    macro_rules! mutations {
        ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
            /// A rule that can be left out; the number is its row in the list of attacks.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Mutation { $($(#[$doc])* $name),* }
            impl Mutation {
                /// All of them.
                pub const ALL: &'static [Mutation] = &[$(Mutation::$name),*];
            }
        };
    }

    mutations! {
        /// 1: slots come from the clock alone, and the merge believes them.
        SlotsGoBack,
        /// 1: a ring's position is what the proposer wrote.
        StartAsWritten,
        /// 2: a decision counts for the payload of any ballot.
        PayloadOfAnyBallot,
        /// 3: a candidate does not look at what its quorum has forgotten.
        TrimPointIgnored,
        /// 4: an acceptor that lost its memory votes.
        LostVotes,
        /// Phase 1 takes any accepted value, not that of the highest ballot.
        AnyAccepted,
        /// A majority of the live path is enough.
        PathQuorum,
        /// 5: partitions that a ring-0 command does not address do not count it.
        UnaddressedNotCounted,
        /// 6: a write of an older epoch of its session executes.
        EpochIgnored,
        /// 7: `after` is the epoch, whatever the session has read and written since.
        AfterForgets,
        /// 7: writes do not wait for earlier reads.
        WritesPassReads,
        /// 8: what a read has observed does not bind the next one.
        ReadsForget,
        /// 9: a write to another ring does not wait for the session's earlier writes.
        WritesDoNotWait,
        /// Reads do not wait for the session's earlier writes.
        ReadsPassWrites,
        /// 10: a read runs at any replica.
        FrontierIgnored,
        /// 11: a re-open leaves the frontier where it was.
        ReopenKeepsFrontier,
        /// 12: a changed ACL is not something that a read observes.
        AclUnobserved,
        /// 13: the absence of a znode shows nothing.
        AbsenceUnobserved,
        /// 14: sync goes through the ring of its path.
        SyncOfOneRing,
        /// `reads=linearizable` is not heeded.
        BarriersForgotten,
        /// A connection's reads share its first barrier for ever.
        BarriersReused,
        /// 15: messages are handed out at once.
        NoReleaseRule,
        /// 15: the release rule forgets outstanding requests.
        OutstandingForgotten,
        /// 16: setWatches is evaluated wherever the replica is.
        SetWatchesAnywhere,
        /// A read over several partitions runs part by part.
        PartsApart,
        /// 18: a partition answers with what it finds at the others, delivered or not.
        EarlyAnswer,
        /// 18: so it does for a replica on another server.
        EarlyAnswerAcross,
        /// 17: a session goes on where the replica that holds its watches is lost.
        AttachmentForgotten,
        /// Contributions are not sent to other servers, and those that lack them do not ask.
        NeverGives,
        /// Who lacks a contribution does not ask for it.
        NeverPulls,
        /// A server trims by what its own partitions have, whatever the others still need.
        OwnFloors,
        /// A read elsewhere that sets a watch does not hold back the events behind it.
        EventsPassReads,
        /// An answer from elsewhere counts though the session has seen more meanwhile.
        AnswersOutdated,
        /// 19: the number of a sequential znode takes part in the spread.
        NumberSpreads,
        /// 20: any lastZxidSeen is believed.
        AnyZxidSeen,
        /// 26: a closing ends the session whatever its epoch.
        ClosingIgnoresEpoch,
        /// 27: a command's time is its value's.
        TimeGoesBack,
        /// 28: both owners of a border fire for the znode and for its parent.
        BothFire,
        /// A vote counts before it is on disk.
        VoteBeforeSync,
        /// 20: a command may be ordered after anything.
        AnyAfter,
        /// 20: a coordinator passes whatever slot somebody names.
        AnyDemand,
        /// 21: ring 0 reserves ahead from slots that it sees.
        ReservesFromSlots,
        /// 21: a coordinator believes its own clock, whatever the others' show.
        AnyClock,
        /// 24: messages wait for a partition however long it stays behind.
        WaitsForTheDead,
        /// 24: messages that pass a partition say that all of its events were told.
        ToldNotHeld,
        /// 6.5: commands over several partitions are asked for though one of them is stale.
        AsksTheDead,
        /// 25: a server keeps its clients though nobody counts that it hears them.
        UncountedTouches,
        /// 25: a new coordinator believes what it counted before it led.
        StaleSessions,
        /// Every command is proposed twice. Harmless: duplicates are known by their number.
        ProposedTwice,
        /// And duplicates are not known.
        NoDuplicateTable,
        /// A snapshot leaves out the outbox.
        OutboxForgotten,
        /// A snapshot leaves out the last number of each front end.
        NumbersForgotten,
        /// The log is trimmed at the newest snapshots, whatever older ones are kept.
        TrimmedAtNewest,
        /// An expiry does not wait for the whole time-out.
        ExpiresEarly,
        /// Watches fire after their change was answered: events have a lower rank than replies.
        EventsAfterReplies,
        /// A one-shot is not used up.
        OneShotsStay,
        /// 23: a command that waits holds everything behind it.
        HoldsEverything,
        /// Commands pass others that change the parent.
        ParentsPass,
        /// Commands pass sequential creates that may come to their path.
        NumbersPass,
        /// A command's time is that of its execution.
        TimeAtExecution,
        /// A command contributes before its turn.
        ContributesEarly,
        /// A partition's position passes the commands set aside.
        PositionPasses,
        /// Reads do not see that a command is set aside.
        ReadsPassSetAside,
        /// A read has observed what stands for it, whatever is set aside before that.
        ReadsObservePast,
        /// A session's end shows in a child list before all of its parts are through.
        PartsSeen,
        /// A snapshot leaves out the commands set aside.
        SetAsideForgotten,
        /// What a command set aside creates for a session that has ended stays.
        EndingForgotten,
        /// A hello counts as often as it is decided.
        HelloTwice,
    }

    impl Mutation {
        /// Those that one process cannot show: all its partitions live and die together. The
        /// executor's own world catches them.
        pub const OF_THE_EXECUTOR: &'static [Mutation] = &[
            Mutation::HoldsEverything,
            Mutation::ParentsPass,
            Mutation::NumbersPass,
            Mutation::TimeAtExecution,
            Mutation::ContributesEarly,
            Mutation::PositionPasses,
            Mutation::ReadsPassSetAside,
            Mutation::ReadsObservePast,
            Mutation::PartsSeen,
            Mutation::SetAsideForgotten,
            Mutation::EndingForgotten,
            Mutation::HelloTwice,
        ];
    }

    thread_local! {
        static PLANTED: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// From now on this rule is left out on this thread.
    pub fn plant(mutation: Option<Mutation>) {
        PLANTED.set(mutation);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_planted(mutation: Mutation) -> bool {
        PLANTED.get() == Some(mutation)
    }
}
