//! What the fuzzers do with their bytes, apart from the tool that chooses them: the tests of the
//! crates run the same bodies for a moment. Never part of a server.
//! Called by the programs in `fuzz_targets/`, and included by path in the crates' tests.

pub mod disk;
pub mod mutate;
pub mod protocol;
#[path = "../../tests/vectors/read.rs"]
pub mod vectors;
