//! The file `partition.map` of the data directory: the rules that its tree is laid out by, written
//! at the first start and compared at every later one. Never changes a map that exists. Called at
//! the start, before anything reads the tree.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::core::oracle::rules::{MapRules, RulesError};

/// Name of the file.
pub const FILE_NAME: &str = "partition.map";

/// Why the server must not start on this directory.
#[derive(Debug, thiserror::Error)]
pub enum PartitionMapError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is damaged, or of a later version.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RulesError,
    },
    /// The configuration asks for another layout.
    #[error(
        "{path}: the tree in this directory is laid out by other rules than are configured. A tree \
         cannot be laid out anew yet: configure the stored rules, or start with an empty \
         directory.\n{difference}"
    )]
    Different {
        /// The file.
        path: PathBuf,
        /// One line for each rule that differs.
        difference: String,
    },
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The same rules as configured.
    Same,
    /// None: the configured rules have been written, and are on disk.
    Written,
}

/// Compares the configured rules with those of the directory, or writes them where there are none.
/// The directory must exist.
///
/// # Errors
/// See [`PartitionMapError`].
pub fn check_or_write(data_dir: &Path, configured: &MapRules) -> Result<Found, PartitionMapError> {
    let path = data_dir.join(FILE_NAME);
    let io_error = |source| PartitionMapError::Io { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let stored = MapRules::parse(&text)
                .map_err(|source| PartitionMapError::Unreadable { path: path.clone(), source })?;
            match difference(&stored, configured) {
                Some(difference) => Err(PartitionMapError::Different { path, difference }),
                None => Ok(Found::Same),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(data_dir, configured).map_err(io_error)?;
            Ok(Found::Written)
        }
        Err(error) => Err(io_error(error)),
    }
}

/// Whole or not at all: a torn map would keep the server from ever starting.
fn write(data_dir: &Path, rules: &MapRules) -> io::Result<()> {
    let temporary = data_dir.join("partition.map.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(rules.to_string().as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, data_dir.join(FILE_NAME))?;
    File::open(data_dir)?.sync_all()
}

/// What differs, one line for each rule; `None` where nothing does.
#[must_use]
pub fn difference(stored: &MapRules, configured: &MapRules) -> Option<String> {
    let mut lines = Vec::new();
    if stored.partitions != configured.partitions {
        let (stored, configured) = (stored.partitions, configured.partitions);
        lines.push(format!("  partitions: stored {stored}, configured {configured}"));
    }
    for pattern in stored.spread.iter().filter(|pattern| !configured.spread.contains(pattern)) {
        lines.push(format!("  partition.spread {pattern}: stored, not configured"));
    }
    for pattern in configured.spread.iter().filter(|pattern| !stored.spread.contains(pattern)) {
        lines.push(format!("  partition.spread {pattern}: configured, not stored"));
    }
    let partition_of = |rules: &MapRules, path: &str| {
        rules.prefixes.iter().find(|(_, prefix)| prefix == path).map(|(partition, _)| *partition)
    };
    for (partition, prefix) in &stored.prefixes {
        match partition_of(configured, prefix) {
            Some(now) if now == *partition => {}
            Some(now) => lines.push(format!(
                "  prefix {prefix}: stored in partition {partition}, configured in partition {now}"
            )),
            None => lines.push(format!(
                "  prefix {prefix}: stored in partition {partition}, not configured"
            )),
        }
    }
    for (partition, prefix) in &configured.prefixes {
        if partition_of(stored, prefix).is_none() {
            lines.push(format!(
                "  prefix {prefix}: configured in partition {partition}, not stored"
            ));
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use volery_proto::ids::PartitionId;

    use super::*;

    fn rules(partitions: u16, spread: &[&str], prefixes: &[(u16, &str)]) -> MapRules {
        let spread = spread.iter().map(ToString::to_string).collect();
        let prefixes = prefixes.iter().map(|(p, path)| (PartitionId(*p), path.to_string()));
        // The rules of these tests are valid.
        MapRules::new(partitions, spread, prefixes.collect()).expect("valid rules")
    }

    #[test]
    fn differences_are_told_rule_by_rule() {
        let stored = rules(4, &["/*", "/a/*"], &[(2, "/k"), (1, "/l"), (3, "/m")]);
        let configured = rules(8, &["/*", "/b/*"], &[(3, "/k"), (3, "/m"), (7, "/n")]);
        assert_eq!(difference(&stored, &stored), None);
        assert_eq!(
            difference(&stored, &configured).as_deref(),
            Some(
                "  partitions: stored 4, configured 8\n  \
                 partition.spread /a/*: stored, not configured\n  \
                 partition.spread /b/*: configured, not stored\n  \
                 prefix /k: stored in partition 2, configured in partition 3\n  \
                 prefix /l: stored in partition 1, not configured\n  \
                 prefix /n: configured in partition 7, not stored"
            )
        );
    }

    #[test]
    fn the_first_start_writes_and_later_ones_compare() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (one, two) = (rules(4, &["/*"], &[]), rules(5, &["/*"], &[]));
        let check = |rules| check_or_write(dir.path(), rules);
        assert!(matches!(check(&one), Ok(Found::Written)));
        assert!(matches!(check(&one), Ok(Found::Same)));
        let error = check(&two).map_err(|error| error.to_string()).expect_err("refused");
        assert!(error.ends_with("\n  partitions: stored 4, configured 5"), "{error}");
        fs::write(dir.path().join(FILE_NAME), "nonsense").expect("writable");
        let error = check(&one).map_err(|error| error.to_string()).expect_err("refused");
        assert!(error.ends_with("line 1: expected format=1, found \"nonsense\""), "{error}");
    }
}
