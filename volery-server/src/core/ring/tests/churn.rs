//! Goal: whatever the network, the disks and the clocks do, the members agree, and once the faults
//! stop they go on. Method: many short seeded runs; every rule left out must be caught.
//! Replay: `RING_SEED=… cargo test -p volery-server ring::tests::churn`; `RING_TRACE=1` with
//! `--nocapture` prints every event; `RING_RUNS=…` runs as many seeds from there.

use super::super::Ring;
use super::super::mutant::Mutant;
use super::world::{DETECT_US, Node, RING, World};

/// Longer than it takes until a ring would be handed over once more.
const STAYS_US: u64 = 1_000_000;

/// One run; what went wrong.
fn run(seed: u64, mutant: Option<Mutant>) -> Result<usize, String> {
    let members = if seed.is_multiple_of(4) { 5 } else { 3 };
    let mut world = World::new(seed, members, mutant);
    let end = 500_000 + world.random.below(2_000_000);
    while world.time < end && world.checker.failure.is_none() {
        let step = 1_000 + world.random.below(30_000);
        world.run(world.time + step);
        world.propose();
        if world.random.chance(25) {
            fault(&mut world);
        }
    }
    calm(&mut world);
    let failure = world.checker.failure.take();
    failure.map_or(Ok(world.checker.chosen.len()), |what| Err(format!("seed {seed}: {what}")))
}

fn fault(world: &mut World) {
    let node = world.random.below(world.nodes.len() as u64) as usize;
    let other = world.random.below(world.nodes.len() as u64) as usize;
    match world.random.below(16) {
        0..=2 => world.crash(node),
        3..=6 => {
            if let Some(down) = world.nodes.iter().position(|n| n.ring.is_none()) {
                world.start(down);
            }
        }
        7 => world.lose_memory(node),
        8 => world.cut.push((node, other)),
        9 => world.cut.extend((0..world.nodes.len()).flat_map(|n| [(n, node), (node, n)])),
        10 | 11 => world.cut.clear(),
        12 => {
            let time = world.random.below(300_000);
            world.suspect_wrongly(node, other, time);
        }
        13 => world.jump_clock(node),
        _ => world.snapshot(node),
    }
}

/// The faults stop: all must come back, decide something new, and know the same. Then the member
/// that the ring prefers leads again, at the first attempt, and goes on to: each change gives
/// sessions a fresh time-out, so that rings which change hands for ever would let nothing expire.
fn calm(world: &mut World) {
    world.cut.clear();
    world.weather.loss = 0;
    for node in 0..world.nodes.len() {
        if world.checker.failure.is_some() {
            return;
        }
        if world.nodes[node].ring.is_none() {
            world.start(node);
        }
    }
    // Behind every suspicion that is still on its way.
    world.run(world.time + DETECT_US);
    (0..world.nodes.len()).for_each(|node| world.detect(node, false));
    let (mut target, mut led, mut stays_until) = (None, None, None);
    for _ in 0..400 {
        world.run(world.time + 50_000);
        if world.checker.failure.is_some() {
            return;
        }
        let chosen = world.checker.chosen.len();
        let goal = *target.get_or_insert(chosen + 20);
        if chosen < goal {
            world.propose();
        }
        let all = world.nodes.iter().all(|n| n.cursor.0 >= goal as u64 && !n.lost);
        let leads = |node: &Node| node.ring.as_ref().is_some_and(Ring::is_coordinator);
        if !all || !world.nodes.iter().any(leads) {
            continue;
        }
        let changes = world.led - *led.get_or_insert(world.led);
        if changes > 1 {
            world.checker.failure = Some(format!("{changes} changes of who leads, in a calm"));
            return;
        }
        if leads(&world.nodes[usize::from(RING.0) % world.members()])
            && world.time > *stays_until.get_or_insert(world.time + STAYS_US)
        {
            return;
        }
    }
    let state: Vec<_> = world
        .nodes
        .iter()
        .map(|n| {
            let r = n.ring.as_ref();
            let ring = r.map(|r| (r.is_coordinator(), r.promised().to_string(), r.in_flight()));
            (n.cursor, n.lost, ring)
        })
        .collect();
    let chosen = world.checker.chosen.len();
    world.checker.failure = Some(format!("stuck at {chosen}: {state:?}"));
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|s: String| s.parse::<u64>().ok());
    match (number("RING_SEED"), number("RING_RUNS")) {
        (Some(seed), None) => seed..seed + 1,
        (seed, runs) => seed.unwrap_or(0)..seed.unwrap_or(0) + runs.unwrap_or(default),
    }
}

#[test]
fn members_agree_and_go_on() {
    let mut decided = 0;
    for seed in seeds(1000) {
        match run(seed, None) {
            Ok(chosen) => decided += chosen,
            Err(what) => panic!("{what}"),
        }
    }
    assert!(decided > 0);
}

/// The same seed gives the same run.
#[test]
fn runs_are_deterministic() {
    for seed in 0..10 {
        assert_eq!(run(seed, None), run(seed, None));
    }
}

fn caught(mutant: Mutant, within: u64) {
    let first = seeds(within).find_map(|seed| run(seed, Some(mutant)).err().map(|e| (seed, e)));
    match first {
        Some((seed, what)) => println!("{mutant:?} caught by seed {seed}: {what:.300}"),
        None => panic!("{mutant:?} was not caught"),
    }
}

#[test]
fn catches_start_as_written() {
    caught(Mutant::StartAsWritten, 5000);
}

#[test]
fn catches_any_ballot() {
    caught(Mutant::AnyBallot, 5000);
}

#[test]
fn catches_no_trim_point() {
    caught(Mutant::NoTrimPoint, 5000);
}

#[test]
fn catches_lost_votes() {
    caught(Mutant::LostVotes, 5000);
}

#[test]
fn catches_early_vote() {
    caught(Mutant::EarlyVote, 5000);
}

#[test]
fn catches_any_accepted() {
    caught(Mutant::AnyAccepted, 5000);
}

#[test]
fn catches_path_quorum() {
    caught(Mutant::PathQuorum, 5000);
}
