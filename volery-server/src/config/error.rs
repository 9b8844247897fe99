//! Why a configuration is refused, in words that name the file, the line, the key and the value.
//! Decides nothing and prints nothing. Made by the rest of `config`, shown by `main`.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name as given, or the environment variable.
    pub source: String,
    /// From 1; environment variables have none.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        match self.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value that its key does not allow.
    #[error("{place}: {key}={value}: {allowed}")]
    BadValue {
        /// Where it stands.
        place: Place,
        /// The key as written.
        key: String,
        /// The value as written; never a secret.
        value: String,
        /// What would be allowed.
        allowed: String,
    },
    /// An escape that cannot be read.
    #[error("{place}: {problem}")]
    Malformed {
        /// Where it stands.
        place: Place,
        /// What is wrong.
        problem: &'static str,
    },
    /// A key without which nothing works.
    #[error("{file}: {key} is missing: {why}")]
    Missing {
        /// The file that should have it.
        file: String,
        /// The key.
        key: &'static str,
        /// What it is needed for.
        why: &'static str,
    },
    /// Several `server.N` lines.
    #[error(
        "{place}: {key} is the second server line: clusters of several servers come in a later \
         version of Volery; keep one server line, or none"
    )]
    Cluster {
        /// Where the second one stands.
        place: Place,
        /// Its key.
        key: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A `myid` that holds no server id.
    #[error("{path}: {text:?} is not a server id: a whole number from 1 to 254 is expected")]
    BadMyId {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
}
