//! The tests: fixed seeds, fresh seeds, one seed to replay, and the simulator's own determinism.

use crate::profile::Profile;
use crate::property::Broken;
use crate::runner::{Kind, Report, run_with};

fn run(kind: Kind, seed: u64) -> Report {
    run_with(kind, seed, false, &|_| {})
}

/// Ends the test with all that is needed to see the failure again.
fn fail(kind: Kind, seed: u64, broken: &Broken) -> ! {
    let test = match kind {
        Kind::Alone => "one_seed",
        Kind::Cluster => "one_cluster_seed",
        Kind::Placed => "one_placed_seed",
    };
    panic!(
        "seed {seed}: {}: {}\n\
         replay: VOLERY_SIM_SEED={seed} cargo test -p volery-server --test sim {test} \
         -- --nocapture",
        broken.property, broken.what
    );
}

/// Runs histories from these seeds; ends at the first that breaks a property.
fn run_all(kind: Kind, seeds: impl Iterator<Item = u64>) {
    let started = std::time::Instant::now();
    let (mut histories, mut commands, mut crashes) = (0u64, 0, 0);
    for seed in seeds {
        let report = run(kind, seed);
        if let Some(broken) = &report.broken {
            fail(kind, seed, broken);
        }
        histories += 1;
        commands += report.commands;
        crashes += report.crashes;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{histories} histories, {commands} commands, {crashes} crashes in {seconds:.1} s: {:.0} \
         histories a second",
        histories as f64 / seconds.max(0.001)
    );
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How many fresh histories a run of a test has.
fn runs(usual: u64) -> u64 {
    number("VOLERY_SIM_RUNS").unwrap_or(usual)
}

/// Where fresh seeds begin.
fn base() -> u64 {
    let base = number("VOLERY_SIM_BASE").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |d| d.as_nanos() as u64 >> 8)
    });
    println!("fresh seeds from {base} on");
    base
}

#[test]
fn fixed_seeds() {
    run_all(Kind::Alone, 0..500);
}

#[test]
fn fresh_seeds() {
    let base = base();
    run_all(Kind::Alone, (0..runs(1500)).map(|i| base.wrapping_add(i)));
}

#[test]
fn fixed_cluster_seeds() {
    run_all(Kind::Cluster, 0..100);
}

#[test]
fn fresh_cluster_seeds() {
    let base = base();
    run_all(Kind::Cluster, (0..runs(100)).map(|i| base.wrapping_add(i)));
}

#[test]
fn fixed_placed_seeds() {
    run_all(Kind::Placed, 0..100);
}

#[test]
fn fresh_placed_seeds() {
    let base = base();
    run_all(Kind::Placed, (0..runs(100)).map(|i| base.wrapping_add(i)));
}

fn replay(kind: Kind) {
    let Some(seed) = number("VOLERY_SIM_SEED") else { return };
    let report = run_with(kind, seed, true, &|_| {});
    if let Some(broken) = &report.broken {
        fail(kind, seed, broken);
    }
}

/// `VOLERY_SIM_SEED=N`: this history, with all that its clients did and saw.
#[test]
fn one_seed() {
    replay(Kind::Alone);
}

/// The same in the world of several servers.
#[test]
fn one_cluster_seed() {
    replay(Kind::Cluster);
}

/// The same where partitions are on some of the servers.
#[test]
fn one_placed_seed() {
    replay(Kind::Placed);
}

fn passes(kind: Kind, seed: u64) {
    if let Some(broken) = &run(kind, seed).broken {
        fail(kind, seed, broken);
    }
}

/// A multiRead over two partitions read the first part, waited for the second, and meanwhile the
/// client was told of a change to the first part's znode; then came the older state. A seed makes
/// another world once the workload changes: the lasting form is the mutant `PartsApart`.
#[test]
fn no_event_overtakes_the_parts_of_a_read() {
    passes(Kind::Alone, 7013241732043755);
}

fn with_a_dead_partition(kind: Kind) {
    for seed in 0..runs(40).min(1000) {
        let report = run_with(kind, seed, false, &Profile::kill_a_partition);
        assert!(report.broken.is_none(), "{kind:?}, seed {seed}: {:?}", report.broken);
    }
}

/// ATTACKS row 24: a partition is dead for seconds, and sessions that watch it go on elsewhere.
#[test]
fn no_session_hangs_on_a_dead_partition() {
    with_a_dead_partition(Kind::Cluster);
}

/// The same where sessions are served by replicas on other servers.
#[test]
fn no_session_hangs_on_a_dead_partition_elsewhere() {
    with_a_dead_partition(Kind::Placed);
}

/// The checker of expiry took the end of the faults for a restart of a server that lived on.
#[test]
fn the_end_of_the_faults_gives_no_session_new_time() {
    passes(Kind::Alone, 7013294396058767);
}

/// A client that watched a partition elsewhere was told of a change there before the answer to an
/// earlier barrier, which its own server had not executed yet.
#[test]
fn no_event_from_elsewhere_overtakes_a_barrier() {
    passes(Kind::Placed, 7013345071608548);
}

/// The same seed twice is the same history, to the last byte.
#[test]
fn the_simulator_is_deterministic() {
    for seed in 1_000..1_040 {
        let (once, twice) = (run(Kind::Alone, seed), run(Kind::Alone, seed));
        assert_eq!(once.trace_hash, twice.trace_hash, "seed {seed}");
    }
    for seed in 1_000..1_010 {
        let (once, twice) = (run(Kind::Cluster, seed), run(Kind::Cluster, seed));
        assert_eq!(once.trace_hash, twice.trace_hash, "cluster seed {seed}");
        let (once, twice) = (run(Kind::Placed, seed), run(Kind::Placed, seed));
        assert_eq!(once.trace_hash, twice.trace_hash, "placed seed {seed}");
    }
}
