//! What the clients of the model do: a few steps each, made so that every rule is needed in one.

use volery_server::core::mutation::Mutation;

use super::Frontier;
use super::client::{Do, Step};

/// Waits for the answers of the steps before.
fn then(what: Do) -> Step {
    Step { what, waits: true }
}

/// Does not.
fn and(what: Do) -> Step {
    Step { what, waits: false }
}

/// The clock of ring 1 is ahead of that of ring 0, and that of ring 2 behind.
const APART: [&[u64]; 3] = [&[75], &[90], &[60]];

/// The first server learns of everything in its own time, the second at once; the clock of ring 1
/// is ahead of that of ring 2, or behind.
fn world(clients: Vec<(usize, Vec<Step>)>) -> Frontier {
    let clocks: [&'static [u64]; 3] = [&[75], &[50, 90], &[60]];
    Frontier {
        rule: None,
        clients,
        prompt: [false, true],
        dead: None,
        waits: 0,
        linearizable: false,
        clocks,
    }
}

/// Reads in both partitions, while others write there.
fn reading() -> Frontier {
    let steps = vec![then(Do::Read("/p")), then(Do::Read("/q"))];
    let [p, q] = ["/p", "/q"].map(|path| (1, vec![then(Do::Write(path))]));
    Frontier { clocks: APART, ..world(vec![(0, steps), p, q]) }
}

/// A write behind a read that waits.
fn hurrying() -> Frontier {
    let steps = vec![then(Do::Read("/p")), then(Do::Read("/q")), and(Do::Write("/p"))];
    let others = vec![then(Do::Write("/p")), then(Do::Write("/q"))];
    let world = world(vec![(0, steps), (1, others)]);
    Frontier { clocks: APART, ..world }
}

/// A read in one partition, then a write in the other.
fn following() -> Frontier {
    let steps = vec![then(Do::Read("/p")), then(Do::Write("/q"))];
    world(vec![(1, steps), (1, vec![then(Do::Write("/p"))])])
}

/// Writes in both partitions at once.
fn pipelining() -> Frontier {
    let steps = vec![then(Do::Write("/p")), and(Do::Write("/q")), and(Do::Read("/p"))];
    world(vec![(0, steps)])
}

/// A read at once behind a write.
fn rereading() -> Frontier {
    world(vec![(0, vec![then(Do::Write("/p")), and(Do::Read("/p"))])])
}

/// A write under way, and the session goes elsewhere.
fn moving() -> Frontier {
    let steps =
        vec![then(Do::Write("/p")), and(Do::Move), then(Do::Read("/p")), then(Do::Write("/q"))];
    world(vec![(1, steps)])
}

/// A watch, and results of the other partition.
fn watching() -> Frontier {
    let steps = vec![then(Do::Watch("/p")), then(Do::Write("/q")), and(Do::Read("/q"))];
    world(vec![(0, steps), (1, vec![then(Do::Write("/p"))])])
}

/// A watch on what the session writes itself.
fn hearing_oneself() -> Frontier {
    let steps = vec![then(Do::Watch("/p")), then(Do::Write("/p"))];
    world(vec![(0, steps)])
}

/// A watch that goes along.
fn returning() -> Frontier {
    let steps = vec![then(Do::Watch("/p")), then(Do::Move), then(Do::Read("/q"))];
    world(vec![(1, steps), (1, vec![then(Do::Write("/p"))])])
}

/// The partition of a watch stays behind for long, or for ever (row 24): what the session does in
/// the other one goes on, and the watch finds its event elsewhere.
fn outliving(dead: Option<usize>) -> Frontier {
    let steps =
        vec![then(Do::Watch("/p")), then(Do::Write("/q")), then(Do::Move), then(Do::Read("/q"))];
    let world = world(vec![(0, steps), (1, vec![then(Do::Write("/p"))])]);
    Frontier { dead, waits: 1, clocks: APART, ..world }
}

/// A session comes to a server where the partition of its watch is dead.
fn arriving() -> Frontier {
    let steps = vec![then(Do::Watch("/p")), then(Do::Move), then(Do::Read("/q"))];
    let world = world(vec![(1, steps), (1, vec![then(Do::Write("/q"))])]);
    Frontier { dead: Some(1), waits: 1, clocks: APART, ..world }
}

/// A barrier on a path of one partition, a read in the other. The session that writes has moved
/// before, so the rings have passed a slot between the two clocks.
fn syncing() -> Frontier {
    let steps = vec![then(Do::Sync("/q")), then(Do::Read("/p"))];
    let others = vec![then(Do::Move), then(Do::Write("/p"))];
    Frontier { clocks: APART, ..world(vec![(0, steps), (0, others)]) }
}

/// Reads alone, of a server that is behind, while somebody writes.
fn looking() -> Frontier {
    let steps = vec![then(Do::Read("/p")), then(Do::Read("/p"))];
    let world = world(vec![(0, steps), (1, vec![then(Do::Write("/p"))])]);
    Frontier { linearizable: true, ..world }
}

fn holds(name: &str, program: Frontier) {
    crate::holds(&format!("frontier: {name}"), program.clone());
    if crate::large() {
        let program = Frontier { prompt: [false, false], ..program };
        crate::holds(&format!("frontier: {name}, both behind"), program);
    }
}

#[test]
fn reading_holds() {
    holds("reading", reading());
}

#[test]
fn hurrying_holds() {
    holds("hurrying", hurrying());
}

#[test]
fn following_holds() {
    holds("following", following());
}

#[test]
fn pipelining_holds() {
    holds("pipelining", pipelining());
}

#[test]
fn moving_holds() {
    holds("moving", moving());
}

#[test]
fn watching_holds() {
    holds("watching", watching());
}

#[test]
fn hearing_oneself_holds() {
    holds("hearing oneself", hearing_oneself());
}

#[test]
fn returning_holds() {
    holds("returning", returning());
}

#[test]
fn syncing_holds() {
    holds("syncing", syncing());
}

#[test]
fn looking_holds() {
    holds("looking", looking());
}

#[test]
fn outliving_holds() {
    holds("outliving", outliving(None));
}

#[test]
fn outliving_the_dead_holds() {
    holds("outliving the dead", outliving(Some(1)));
}

#[test]
fn arriving_holds() {
    holds("arriving", arriving());
}

#[test]
fn every_rule_of_the_frontier_is_needed() {
    let cases = [
        (Mutation::EpochIgnored, moving()),
        (Mutation::AfterForgets, following()),
        (Mutation::WritesPassReads, hurrying()),
        (Mutation::ReadsForget, reading()),
        (Mutation::WritesDoNotWait, pipelining()),
        (Mutation::ReadsPassWrites, rereading()),
        (Mutation::FrontierIgnored, reading()),
        (Mutation::ReopenKeepsFrontier, moving()),
        (Mutation::SyncOfOneRing, syncing()),
        (Mutation::NoReleaseRule, watching()),
        (Mutation::OutstandingForgotten, watching()),
        (Mutation::EventsAfterReplies, hearing_oneself()),
        (Mutation::SetWatchesAnywhere, returning()),
        (Mutation::BarriersForgotten, looking()),
        (Mutation::BarriersReused, looking()),
        (Mutation::WaitsForTheDead, outliving(Some(1))),
        (Mutation::WaitsForTheDead, arriving()),
        (Mutation::ToldNotHeld, outliving(None)),
    ];
    for (rule, program) in cases {
        let program = Frontier { rule: Some(rule), ..program };
        crate::fails(&format!("frontier without {rule:?}"), program);
    }
}
