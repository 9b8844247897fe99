//! Goal: whatever arrives when, the replicas of a partition come to what executing one command
//! after the other comes to; and one dead partition stops only what needs it (DESIGN section 6).
//! Method: random decided sequences over random maps, two replicas of each partition, and chance.
//!
//!     VOLERY_EXECUTOR_SEEDS=100000 cargo test --release … the_order_of_arrival    a long run
//!     VOLERY_EXECUTOR_SEED=7 cargo test … the_order_of_arrival                     one seed

mod liveness;
mod memory;
mod reads;
mod reference;
mod script;
mod story;
mod world;

use volery_proto::ids::{SessionId, Zxid};

use super::set_aside::{Footprint, Item, Removal, SetAside, Work};
use reference::Reference;
use script::Script;
use world::World;

/// One history; how many commands were set aside at once, at most.
fn run(seed: u64, planted: impl FnOnce(bool)) -> Result<usize, String> {
    let script = Script::new(seed);
    let reference = Reference::run(&script)?;
    for step in &script.steps {
        let answered = reference.outcomes.keys().any(|(_, zxid)| *zxid == step.zxid);
        if answered != (step.counts && step.command().origin.incarnation.0 > 0) {
            return Err(format!("{} took part, or did not: {:?}", step.zxid, step.command()));
        }
    }
    planted(true);
    World::new(seed, &script, &reference).run()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_order_of_arrival_changes_nothing_and_the_dead_stop_only_what_needs_them() {
    let seeds: Vec<u64> = match number("VOLERY_EXECUTOR_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("VOLERY_EXECUTOR_SEEDS").unwrap_or(1500)).collect(),
    };
    let (count, mut most, mut sum) = (seeds.len(), 0, 0);
    for seed in seeds {
        let aside = run(seed, |_| ()).unwrap_or_else(|broken| {
            panic!("VOLERY_EXECUTOR_SEED={seed}: {broken}");
        });
        most = most.max(aside);
        sum += aside;
    }
    assert!(count == 1 || (most > 8 && sum > count), "{sum} set aside, {most} at once");
}

/// They share their parents, and the order of their removals does not matter.
#[test]
fn the_parts_of_one_closing_do_not_wait_for_one_another() {
    let mut aside = SetAside::default();
    let of = |path: &str| Footprint::of_removals(&[Removal::of(path.into())]);
    let work = Work::Ending { session: SessionId(1), removals: Vec::new() };
    aside.insert((Zxid(9), 1), Item::new(work, 0, of("/c")));
    assert!(!aside.blocks(Zxid(9), &of("/c/m")));
    assert!(aside.blocks(Zxid(10), &of("/c/m")));
}

#[test]
fn one_dead_partition_does_not_stop_a_healthy_one() {
    story::tell().unwrap();
}

/// Every rule left out in turn must show, in the story or in some history.
#[cfg(feature = "mutants")]
#[test]
fn every_mutant_is_caught() {
    use crate::core::mutation::{Mutation, plant};

    let mut survivors = Vec::new();
    for mutation in Mutation::OF_THE_EXECUTOR.iter().copied() {
        plant(Some(mutation));
        let told = story::tell().err().map(|broken| format!("the story: {broken}"));
        plant(None);
        let caught = (0..3000).find_map(|seed| {
            let broken = run(seed, |_| plant(Some(mutation))).err();
            plant(None);
            Some(format!("{} seeds: {}", seed + 1, broken?.chars().take(80).collect::<String>()))
        });
        println!("{mutation:?}: {caught:?}; {told:?}");
        if caught.or(told).is_none() {
            survivors.push(mutation);
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}
