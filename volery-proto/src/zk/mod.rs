//! ZooKeeper's client protocol: opcodes, error codes, records, requests.

mod error;
mod multi;
mod opcode;
mod records;
mod request;
mod words;

pub use error::ErrorCode;
pub use multi::{MultiOp, MultiResult, ReadOp};
pub use opcode::OpCode;
pub use records::*;
pub use request::Request;
pub use words::is_four_letter_word;
