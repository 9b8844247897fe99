//! Paths of znodes: ZooKeeper's full check, and the splitting that everything else uses.

use bytestring::ByteString;

/// Whether `path` passes ZooKeeper's server-side `PathUtils.validatePath`; the error says why not.
///
/// # Errors
/// The reason, as a sentence for a log or a user.
pub fn validate(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("a path is not empty");
    }
    if !path.starts_with('/') {
        return Err("a path starts with /");
    }
    if path == "/" {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err("a path does not end with /");
    }
    for component in path[1..].split('/') {
        match component {
            "" => return Err("a path has no empty component"),
            "." | ".." => return Err("a path has no relative component"),
            _ => {}
        }
    }
    if path.chars().any(is_forbidden) {
        return Err("the path has a forbidden character");
    }
    Ok(())
}

/// Java checks UTF-16 units, so everything outside the basic plane falls under the surrogates.
fn is_forbidden(c: char) -> bool {
    matches!(u32::from(c),
        0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff | 0x1_0000..)
}

/// Splits into (parent, name): `/a/b` → (`/a`, `b`), `/a` → (`/`, `a`). `None` without a slash.
/// The root gives (`/`, ``).
#[must_use]
pub fn split(path: &str) -> Option<(&str, &str)> {
    let at = path.rfind('/')?;
    Some((&path[..at.max(1)], &path[at + 1..]))
}

/// The parent of [`split`], sharing the path's memory.
#[must_use]
pub fn parent_of(path: &ByteString) -> Option<ByteString> {
    let end = path.rfind('/')?.max(1);
    Some(path.slice_ref(&path[..end]))
}

/// The full path of child `name` of `parent`.
#[must_use]
pub fn join(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// The suffix that a sequential create appends: signed decimal, zero-padded to width 10.
#[must_use]
pub fn sequence_suffix(number: i32) -> String {
    // Java's %010d counts the sign within the width; Rust's does too.
    format!("{number:010}")
}
