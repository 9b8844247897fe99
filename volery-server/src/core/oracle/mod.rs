//! The partition map: which partition owns a path. Pure, like all of `core`.

pub mod rules;
