//! The tree against a dumb model: random changes over borders, ephemerals and snapshots.

mod model;
mod plain;
