//! The ways to register a watch, and the ways to name one for removal.
//! Checks the numbers of the wire; knows no table.
//! Called by reads, by the front end for addWatch, checkWatches and removeWatches.

use volery_proto::zk::ErrorCode;

/// How a watch is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchKind {
    /// By exists or getData: fires once.
    Data,
    /// By getChildren: fires once.
    Child,
    /// By addWatch, mode 0: data and children, until removed.
    Persistent,
    /// By addWatch, mode 1: the znode and all below it, until removed; never children changed.
    Recursive,
}

/// The kind of watch that a mode of addWatch asks for.
///
/// # Errors
/// `MarshallingError`: there is no such mode.
pub fn added_kind(mode: i32) -> Result<WatchKind, ErrorCode> {
    match mode {
        0 => Ok(WatchKind::Persistent),
        1 => Ok(WatchKind::Recursive),
        _ => Err(ErrorCode::MarshallingError),
    }
}

/// Which watches checkWatches and removeWatches mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatcherType {
    /// One-shot child watches.
    Children,
    /// One-shot data watches.
    Data,
    /// All of them.
    Any,
    /// Those of addWatch, mode 0.
    Persistent,
    /// Those of addWatch, mode 1.
    Recursive,
}

impl WatcherType {
    /// The type of its number on the wire.
    ///
    /// # Errors
    /// `MarshallingError`: there is no such type.
    pub fn from_i32(number: i32) -> Result<WatcherType, ErrorCode> {
        Ok(match number {
            1 => WatcherType::Children,
            2 => WatcherType::Data,
            3 => WatcherType::Any,
            4 => WatcherType::Persistent,
            5 => WatcherType::Recursive,
            _ => return Err(ErrorCode::MarshallingError),
        })
    }
}
