//! The inner rooms: no clock, no randomness, no file, no socket, no runtime. Each is a state
//! machine that is handed its input and the time, and returns what is to be done.

pub mod apply;
pub mod auth;
pub mod executor;
pub mod front_end;
pub mod merge;
pub mod mutation;
pub mod oracle;
pub mod read;
pub mod ring;
pub mod server;
pub mod session;
#[cfg(test)]
mod test_tree;
pub mod tree;
pub mod types;
pub mod watch;
