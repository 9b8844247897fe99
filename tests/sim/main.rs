//! The deterministic simulation of a whole server: thousands of random histories, each made by a
//! seed, each judged by every property. See README.md beside this file.

mod client;
mod disk;
mod history;
mod ledger;
mod machine;
mod model;
mod network;
mod peers;
mod prng;
mod profile;
mod property;
mod runner;
mod seeds;
mod step;
mod workload;
mod world;
