//! Volery's server. `core` is pure: (time, input) → outputs; everything else is its house.
//! See ARCHITECTURE.md for the rooms and the one direction of flow.

pub mod admin;
pub mod client_port;
pub mod config;
pub mod core;
pub mod node;
pub mod peer_port;
pub mod storage;
pub mod telemetry;
