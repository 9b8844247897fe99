//! What an operator asks of a server: the four-letter words, and what they are answered from.
//! Never opens a socket and never looks into another room: it formats what it is handed. Called by
//! the client port; the facts are filled in by `node`.

pub mod counters;
pub mod date;
pub mod environment;
mod monitor;
pub mod status;
pub mod version;
pub mod words;
