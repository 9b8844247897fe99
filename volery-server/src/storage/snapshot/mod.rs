//! A partition's snapshots: written chunk by chunk beside the work, read back and checked at start.
//! It never looks into a chunk, never skips a damaged file, never lets the core wait for the disk.
//! Called by `node/`: the core's chunks go into the sink, a starting replica reads them back.
//!
//! A file `snapshot.<partition>.<zxid>` has a header, chunks and a footer, all little-endian.
//!
//! ```text
//! header   magic 8 | version u32 | crc32c u32 | zxid u64 | partition u16 | zeros, to 32 bytes
//! chunk    length u32 | crc32c u32 of (length, number of the chunk, payload) | payload
//! footer   2^32-1 as u32 | crc32c u32 of the rest | chunks u64 | payload bytes u64 | sum u32
//! ```
//!
//! `sum` is the crc32c of the chunks' checksums in order. A file gets its name when all of it is on
//! disk; a file with its name but without its footer is therefore damaged, not unfinished.

mod error;
mod format;
mod list;
mod partial;
mod read;
mod sink;
mod write;

#[cfg(test)]
mod tests;

pub use error::SnapshotError;
pub use format::{CHUNK_BYTES_MAX, Flaw};
pub use list::{SnapshotInfo, adopt, list, path_of, purge, remove_unfinished};
pub use partial::PartialSnapshot;
pub use read::SnapshotReader;
pub use sink::{OnEvent, SinkFull, SinkOptions, SnapshotEvent, SnapshotSink};
pub use write::SnapshotWriter;
