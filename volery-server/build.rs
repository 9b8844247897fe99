//! Stamps the time of the build into the binary, for the version that clients are shown. Knows
//! nothing of git: SOURCE_DATE_EPOCH makes builds reproducible.

use std::time::{SystemTime, UNIX_EPOCH};

#[allow(dead_code, unreachable_pub)] // The build needs one of the server's functions.
#[path = "src/admin/date.rs"]
mod date;

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo:rustc-env=VOLERY_BUILT={}", date::build_stamp(given.unwrap_or_else(now)));
}
