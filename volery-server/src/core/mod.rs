//! The inner rooms: no clock, no randomness, no file, no socket, no runtime. Each is a state
//! machine that is handed its input and the time, and returns what is to be done.

pub mod oracle;
pub mod types;
