//! Fuzzes `protocol::frames`: see there.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| volery_fuzz::protocol::frames(data));
