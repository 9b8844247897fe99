//! Why a configuration is refused, in words that name the file, the line, the key and the value.
//! Decides nothing and prints nothing. Made by the rest of `config`, shown by `main`.

use std::fmt;
use std::path::PathBuf;

use volery_proto::ids::ServerId;

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
    /// Several server lines, and no `myid` that says which of them is this server's.
    #[error(
        "{path} is missing: with several server lines it says which one is this server's. Write \
         the N of its server.N into it; there are {known}"
    )]
    NoMyId {
        /// The file.
        path: PathBuf,
        /// The ids of the server lines.
        known: String,
    },
    /// A `myid` that is in no server line.
    #[error("{path}: this is server {id}, but there are server lines for {known} only")]
    StrangeMyId {
        /// The file.
        path: PathBuf,
        /// What it holds.
        id: ServerId,
        /// The ids of the server lines.
        known: String,
    },
}
