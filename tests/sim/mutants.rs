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
mod peers;
mod prng;
mod profile;
mod property;
mod runner;
mod step;
mod workload;
mod world;

use profile::Profile;
use runner::{Kind, Report};
use volery_server::core::mutation::{Mutation, plant};

/// Histories that a mutant may take to be caught: of one server, and of several.
const SEEDS: u64 = 6000;
const CLUSTER_SEEDS: u64 = 3000;

/// What only several servers can show; and what they show in ways of their own.
const OF_CLUSTERS: [Mutation; 15] = [
    Mutation::StartAsWritten,
    Mutation::PayloadOfAnyBallot,
    Mutation::TrimPointIgnored,
    Mutation::LostVotes,
    Mutation::AnyAccepted,
    Mutation::PathQuorum,
    Mutation::AnyAfter,
    Mutation::AnyDemand,
    Mutation::ReservesFromSlots,
    Mutation::AnyClock,
    Mutation::UncountedTouches,
    Mutation::StaleSessions,
    Mutation::WaitsForTheDead,
    Mutation::ToldNotHeld,
    Mutation::AsksTheDead,
];
const OF_BOTH: [Mutation; 7] = [
    Mutation::VoteBeforeSync,
    Mutation::NoDuplicateTable,
    Mutation::SyncOfOneRing,
    Mutation::FrontierIgnored,
    Mutation::ReopenKeepsFrontier,
    Mutation::BarriersForgotten,
    Mutation::BarriersReused,
];

/// Of those the ones that take minutes to be caught: only when they are asked for by name.
const RARE: [Mutation; 5] = [
    Mutation::StartAsWritten,
    Mutation::PayloadOfAnyBallot,
    Mutation::UncountedTouches,
    Mutation::AsksTheDead,
    Mutation::SyncOfOneRing,
];

/// What only partitions on some of the servers can show.
const OF_PLACEMENTS: [Mutation; 7] = [
    Mutation::AttachmentForgotten,
    Mutation::EarlyAnswerAcross,
    Mutation::NeverPulls,
    Mutation::OwnFloors,
    Mutation::EventsPassReads,
    Mutation::AnswersOutdated,
    Mutation::NeverGives,
];

/// A fault that no history may show: duplicates are known, and who is not told asks.
fn is_harmless(mutation: Mutation) -> bool {
    matches!(mutation, Mutation::ProposedTwice | Mutation::NeverGives)
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
        Mutation::BarriersForgotten | Mutation::BarriersReused => &linear,
        _ => &|_| {},
    }
}

/// Messages get lost, and coordinators with them.
fn churning(profile: &mut Profile) {
    profile.net.loss_permille = 50;
    profile.net.delay_us = 5_000;
    profile.faults.crash_us = 200_000;
    profile.faults.cut_us = 200_000;
    profile.server.window = 8;
}

/// Much is forgotten, and disks are emptied.
fn forgetting(profile: &mut Profile) {
    churning(profile);
    profile.faults.wipe_us = 300_000;
    profile.server.snapshot_every = 5;
    profile.server.snapshots_kept = 1;
    profile.server.cluster.keep = (4, 1 << 20);
    profile.server.window = 1;
}

/// Nothing fails but clocks, which run ahead one by one.
fn early(profile: &mut Profile) {
    profile.skew_us = 10;
    profile.clock_back = false;
    profile.net.loss_permille = 0;
    profile.net.delay_us = 50;
    profile.sync_us = 50;
    profile.think_us = 200;
    let faults = &mut profile.faults;
    (faults.crash_us, faults.cut_us, faults.wipe_us, faults.lie_us) = (0, 0, 0, 0);
    faults.clock_us = 30_000;
}

/// Clocks are right, and ring 0 reserves ahead.
fn reserving(profile: &mut Profile) {
    early(profile);
    profile.faults.clock_us = 0;
    profile.requests = 150;
    profile.server.skip.global_ahead = 10_000;
}

fn lying(profile: &mut Profile) {
    profile.faults.lie_us = 50_000;
}

/// Servers lose sight of each other for long, and clients do not fall silent.
fn cut(profile: &mut Profile) {
    profile.faults.cut_us = 300_000;
    profile.faults.silent_us = 0;
    profile.requests = 200;
    profile.think_us = 60_000;
}

/// Reads are linearizable, and rings run apart.
fn linear(profile: &mut Profile) {
    apart(profile);
    profile.server.front_end.linearizable_reads = true;
}

/// The same for a world of several servers.
fn bend_cluster(mutation: Mutation) -> &'static dyn Fn(&mut Profile) {
    match mutation {
        Mutation::AnyAfter | Mutation::AnyDemand => &lying,
        Mutation::AnyClock => &early,
        Mutation::ReservesFromSlots => &reserving,
        Mutation::UncountedTouches | Mutation::StaleSessions => &cut,
        Mutation::TrimPointIgnored | Mutation::LostVotes => &forgetting,
        Mutation::BarriersForgotten | Mutation::BarriersReused => &linear,
        Mutation::WaitsForTheDead | Mutation::ToldNotHeld | Mutation::AsksTheDead => {
            &Profile::kill_a_partition
        }
        _ => &churning,
    }
}

/// Everybody watches, and servers come and go.
fn watching_elsewhere(profile: &mut Profile) {
    profile.watches = 600;
    profile.writes = 600;
    profile.multis = 300;
    profile.faults.crash_us = 300_000;
    profile.faults.connection_us = 0;
    profile.server.skip.together = false;
}

/// Messages are lost, and everything goes to several partitions.
fn exchanging(profile: &mut Profile) {
    profile.net.loss_permille = 50;
    profile.writes = 800;
    profile.multis = 400;
}

/// The same, and little is kept for long.
fn trimming(profile: &mut Profile) {
    exchanging(profile);
    profile.faults.crash_us = 200_000;
    profile.faults.cut_us = 200_000;
    profile.server.snapshot_every = 5;
    profile.server.snapshots_kept = 1;
}

/// The same for a world of partitions on some of the servers.
fn bend_placed(mutation: Mutation) -> &'static dyn Fn(&mut Profile) {
    match mutation {
        Mutation::OwnFloors => &trimming,
        Mutation::EarlyAnswerAcross | Mutation::NeverPulls | Mutation::NeverGives => &exchanging,
        _ => &watching_elsewhere,
    }
}

/// The first of so many histories that is caught, printed as a line.
fn caught(mutation: Mutation, kind: Kind, seeds: u64) -> bool {
    let wanted = std::env::var("VOLERY_SIM_MUTANT").ok();
    let bend = match kind {
        Kind::Alone => bend(mutation),
        Kind::Cluster => bend_cluster(mutation),
        Kind::Placed => bend_placed(mutation),
    };
    plant(Some(mutation));
    let caught = (0..seeds).find_map(|seed| {
        let report: Report = runner::run_with(kind, seed, false, bend);
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
    caught.is_some()
}

fn is_wanted(mutation: Mutation) -> bool {
    let wanted = std::env::var("VOLERY_SIM_MUTANT").ok();
    wanted.is_none_or(|name| name == format!("{mutation:?}"))
}

fn is_asked_for(mutation: Mutation) -> bool {
    std::env::var_os("VOLERY_SIM_MUTANT").is_some() || !RARE.contains(&mutation)
}

/// The bent worlds themselves break nothing.
#[test]
fn bent_clusters_are_sound() {
    type Bend = fn(&mut Profile);
    let bends: [Bend; 8] =
        [churning, forgetting, early, reserving, lying, cut, linear, Profile::kill_a_partition];
    for (at, bend) in bends.into_iter().enumerate() {
        for seed in 0..10 {
            let report = runner::run_with(Kind::Cluster, seed, false, &bend);
            assert!(report.broken.is_none(), "bend {at}, seed {seed}: {:?}", report.broken);
        }
    }
    let bends: [Bend; 3] = [watching_elsewhere, exchanging, trimming];
    for (at, bend) in bends.into_iter().enumerate() {
        for seed in 0..10 {
            let report = runner::run_with(Kind::Placed, seed, false, &bend);
            assert!(report.broken.is_none(), "placed {at}, seed {seed}: {:?}", report.broken);
        }
    }
}

#[test]
fn every_mutant_of_placements_is_caught() {
    println!("{:<24} {:<20} seeds", "mutant of placements", "caught by");
    let mut survivors = Vec::new();
    for mutation in OF_PLACEMENTS.into_iter().filter(|mutation| is_wanted(*mutation)) {
        let seeds = if is_harmless(mutation) { 60 } else { CLUSTER_SEEDS };
        if caught(mutation, Kind::Placed, seeds) == is_harmless(mutation) {
            survivors.push(mutation);
        }
    }
    assert!(survivors.is_empty(), "not as they should: {survivors:?}");
}

#[test]
fn every_mutant_of_clusters_is_caught() {
    println!("{:<24} {:<20} seeds", "mutant of clusters", "caught by");
    let all = OF_CLUSTERS.into_iter().chain(OF_BOTH).filter(|mutation| is_wanted(*mutation));
    let survivors: Vec<_> = all
        .filter(|mutation| is_asked_for(*mutation))
        .filter(|mutation| !caught(*mutation, Kind::Cluster, CLUSTER_SEEDS))
        .collect();
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}

#[test]
fn every_mutant_is_caught() {
    let sound = runner::run_with(Kind::Alone, 1, false, &|_| {});
    println!(
        "without: {} commands, {} crashes, trace {:x}",
        sound.commands, sound.crashes, sound.trace_hash
    );
    assert!(sound.broken.is_none(), "{:?}", sound.broken);
    let mut survivors = Vec::new();
    println!("{:<24} {:<20} seeds", "mutant", "caught by");
    for mutation in Mutation::ALL.iter().copied() {
        let elsewhere = OF_CLUSTERS.contains(&mutation)
            || OF_PLACEMENTS.contains(&mutation)
            || Mutation::OF_THE_EXECUTOR.contains(&mutation);
        if !is_wanted(mutation) || elsewhere {
            continue;
        }
        let seeds = if is_harmless(mutation) { 1000 } else { SEEDS };
        if caught(mutation, Kind::Alone, seeds) == is_harmless(mutation) {
            survivors.push(mutation);
        }
    }
    assert!(survivors.is_empty(), "not as they should: {survivors:?}");
}
