//! The rooms of the Volery server. Pure state machines live in `core`, everything with a file in it
//! in `storage`. This crate root never does anything itself; the binary and the tests call it.

pub mod storage;
