//! The fuzzers of `fuzz/` that need the server, run for a moment on valid and damaged files.

#[allow(unreachable_pub, reason = "shared with `fuzz/`")]
#[path = "../../fuzz/src/disk.rs"]
mod disk;
#[allow(unreachable_pub, reason = "shared with `fuzz/`")]
#[path = "../../fuzz/src/mutate.rs"]
mod mutate;

const ROUNDS: usize = 5000;

#[test]
fn log() {
    let seeds = disk::log_seeds();
    assert!(seeds.len() > 2, "{} segments", seeds.len());
    mutate::run(disk::log, &seeds, ROUNDS);
}

#[test]
fn snapshot() {
    mutate::run(disk::snapshot, &disk::snapshot_seeds(), ROUNDS);
}
