//! Everything that touches a file: the log, the snapshots, the identity of the data directory.
//! It knows bytes and never consensus: what a record or a chunk means is the caller's business.
//! Called by `node/`, which turns the core's effects into appends, snapshots and purges.

mod disk;
pub mod meta;
pub mod snapshot;
pub mod wal;

pub use disk::DiskError;
