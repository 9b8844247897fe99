//! Writes the seeds of every target into `corpus/`, where cargo-fuzz looks for them.
//! It keeps what is there. Run it once, from this folder: `cargo run --bin seeds`.

use std::path::Path;

use volery_fuzz::{disk, protocol};

fn main() -> std::io::Result<()> {
    for (target, seeds) in [
        ("frames", protocol::frame_seeds()),
        ("requests", protocol::request_seeds()),
        ("replies", protocol::reply_seeds()),
        ("multi_reply", protocol::multi_reply_seeds()),
        ("value", protocol::value_seeds()),
        ("log", disk::log_seeds()),
        ("snapshot", disk::snapshot_seeds()),
    ] {
        let dir = Path::new("corpus").join(target);
        std::fs::create_dir_all(&dir)?;
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{number}")), seed)?;
        }
        println!("{target}: {} seeds", seeds.len());
    }
    Ok(())
}
