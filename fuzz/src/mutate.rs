//! The poor man's fuzzer of the ordinary test run: random bytes, and valid inputs made invalid.
//! It learns nothing from coverage. Called by the crates' tests; a failure prints its input.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Random bytes are at most this long.
const RANDOM_BYTES_MAX: usize = 512;
/// Changes to one valid input.
const CHANGES_MAX: usize = 4;
/// Lengths and counts that are worth trying.
const WORDS: [i32; 9] = [-1, 0, 1, -2, i32::MAX, i32::MIN, 0xf_ffff, 0x10_0000, 127];

/// Runs `body` on every seed, and then on `rounds` inputs that follow from them.
pub fn run(body: fn(&[u8]), seeds: &[Vec<u8>], rounds: usize) {
    for (number, seed) in seeds.iter().enumerate() {
        attempt(body, seed, &format!("seed {number}"));
    }
    let mut random = Random(rounds as u64);
    for round in 0..rounds {
        let input = match random.below(4) {
            0 => random_bytes(&mut random),
            _ => mutated(seeds, &mut random),
        };
        attempt(body, &input, &format!("round {round}"));
    }
}

fn attempt(body: fn(&[u8]), input: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| body(input))).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{what} fails; the input is {hex}");
    }
}

fn random_bytes(random: &mut Random) -> Vec<u8> {
    (0..random.below(RANDOM_BYTES_MAX)).map(|_| random.next() as u8).collect()
}

fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    if seeds.is_empty() {
        return random_bytes(random);
    }
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(&mut input, &seeds[random.below(seeds.len())], random);
    }
    input
}

fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = at + random.below((input.len() - at).min(16) + 1);
    match random.below(7) {
        0 => input.truncate(at),
        1 => drop(input.drain(at..end)),
        2 => {
            let copy = input[at..end].to_vec();
            input.splice(at..at, copy);
        }
        3 => {
            let word = WORDS[random.below(WORDS.len())];
            let bytes = if random.below(2) == 0 { word.to_be_bytes() } else { word.to_le_bytes() };
            input.splice(at..(at + 4).min(input.len()), bytes);
        }
        4 => {
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        5 => input.insert(at, random.next() as u8),
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

/// SplitMix64: the same inputs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }
}
