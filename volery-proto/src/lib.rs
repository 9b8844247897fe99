//! All that crosses a wire or a disk: ZooKeeper's client protocol (`jute`, `zk`), Volery's
//! commands and values (`command`), identifiers (`ids`), validated paths and every limit.
//! It decides nothing, and it does no I/O. Every other crate uses it.

pub mod command;
pub mod ids;
pub mod jute;
pub mod limits;
pub mod path;
pub mod peer;
pub mod ring;
pub mod zk;

/// Messages generated from `proto/*.proto` at build time.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/volery.rs"));
}
