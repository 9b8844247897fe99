//! Each property has been seen to catch a fault that was planted for it: every rule of
//! core/mutation.rs is left out in turn, and some history must show it.
//! Run: cargo test --release -p volery-server --features mutants --test sim_mutants -- --nocapture

mod client;
mod disk;
mod history;
mod ledger;
mod machine;
mod model;
mod network;
mod prng;
mod profile;
mod property;
mod runner;
mod step;
mod workload;
mod world;

use profile::Profile;
use volery_server::core::mutation::{Mutation, plant};

/// Histories that a mutant may take to be caught.
const SEEDS: u64 = 6000;

/// A fault that no history may show.
fn is_harmless(mutation: Mutation) -> bool {
    mutation == Mutation::ProposedTwice
}

/// Many partitions whose rings run apart, and a clock that jumps: the world in which the order of
/// real time breaks first.
fn apart(profile: &mut Profile) {
    profile.server.skip.together = false;
    profile.server.skip.global_ahead = 0;
    profile.sync_us = profile.sync_us.max(1_000);
}

/// Everybody watches, everywhere, and comes and goes.
fn watching(profile: &mut Profile) {
    apart(profile);
    profile.watches = 600;
    profile.writes = 600;
    profile.multis = 300;
    profile.faults.connection_us = 20_000;
}

/// Sessions end and come back at the same moment.
fn dying(profile: &mut Profile) {
    apart(profile);
    profile.faults.crash_us = 0;
    profile.sync_us = 10_000;
    profile.faults.connection_us = 20_000;
    profile.server.window = 1;
}

/// What the world of a mutant is bent to; most need nothing.
fn bend(mutation: Mutation) -> &'static dyn Fn(&mut Profile) {
    match mutation {
        Mutation::EarlyAnswer | Mutation::FrontierIgnored | Mutation::PartsApart => &apart,
        Mutation::SyncOfOneRing | Mutation::AclUnobserved | Mutation::AbsenceUnobserved => &apart,
        Mutation::SetWatchesAnywhere | Mutation::ReopenKeepsFrontier => &watching,
        Mutation::OutstandingForgotten | Mutation::NoReleaseRule => &watching,
        Mutation::ClosingIgnoresEpoch => &dying,
        _ => &|_| {},
    }
}

#[test]
fn every_mutant_is_caught() {
    let wanted = std::env::var("VOLERY_SIM_MUTANT").ok();
    let sound = runner::run_with(1, false, &|_| {});
    println!(
        "without: {} commands, {} crashes, trace {:x}",
        sound.commands, sound.crashes, sound.trace_hash
    );
    assert!(sound.broken.is_none(), "{:?}", sound.broken);
    let mut survivors = Vec::new();
    println!("{:<24} {:<20} seeds", "mutant", "caught by");
    for mutation in Mutation::ALL.iter().copied() {
        if Mutation::OF_THE_EXECUTOR.contains(&mutation) {
            continue;
        }
        if wanted.as_ref().is_some_and(|name| *name != format!("{mutation:?}")) {
            continue;
        }
        plant(Some(mutation));
        let seeds = if is_harmless(mutation) { 1000 } else { SEEDS };
        let caught = (0..seeds).find_map(|seed| {
            let report = runner::run_with(seed, false, bend(mutation));
            report.broken.map(|broken| (seed, broken))
        });
        plant(None);
        let name = format!("{mutation:?}");
        match &caught {
            Some((seed, broken)) => {
                println!("{name:<24} {:<20} {}", broken.property, seed + 1);
                if wanted.is_some() {
                    println!("  {}", broken.what);
                }
            }
            None => println!("{name:<24} {:<20} {seeds}", "-"),
        }
        if caught.is_some() == is_harmless(mutation) {
            survivors.push(mutation);
        }
    }
    assert!(survivors.is_empty(), "not as they should: {survivors:?}");
}
