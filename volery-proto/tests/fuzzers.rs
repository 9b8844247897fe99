//! The fuzzers of `fuzz/`, run for a moment: on what real clients sent, whole and damaged.

#[allow(dead_code, unreachable_pub, reason = "shared with `fuzz/`")]
#[path = "../../fuzz/src/mutate.rs"]
mod mutate;
#[allow(dead_code, unreachable_pub, reason = "shared with `fuzz/`")]
#[path = "../../fuzz/src/protocol.rs"]
mod protocol;
#[allow(dead_code, unreachable_pub, reason = "shared with `fuzz/`")]
#[path = "../../tests/vectors/read.rs"]
mod vectors;

const ROUNDS: usize = 20_000;

#[test]
fn frames() {
    mutate::run(protocol::frames, &protocol::frame_seeds(), ROUNDS);
}

#[test]
fn requests() {
    mutate::run(protocol::requests, &protocol::request_seeds(), ROUNDS);
}

#[test]
fn replies() {
    mutate::run(protocol::replies, &protocol::reply_seeds(), ROUNDS);
}

#[test]
fn multi_reply() {
    mutate::run(protocol::multi_reply, &protocol::multi_reply_seeds(), ROUNDS);
}

#[test]
fn value() {
    mutate::run(protocol::value, &protocol::value_seeds(), ROUNDS);
}
