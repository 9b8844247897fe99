//! The file `placement` of the data directory: which partitions are in it, and who votes about
//! them. Written at the first start as a member of a cluster, compared at every later one: a
//! majority counted against other servers would decide twice. Called at the start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use volery_proto::ids::{RingId, ServerId};

use super::Cluster;
use super::cluster::list;

/// Name of the file.
pub const FILE_NAME: &str = "placement";

/// Its first line.
const FORMAT: &str = "format=1";

/// Why the server must not start on this directory.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is damaged, or of a later version.
    #[error("{path}: the first line is not {FORMAT}: it is damaged, or of a later version")]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// The configuration says something else.
    #[error(
        "{path}: this directory was made for another placement than is configured. Partitions \
         cannot be moved yet, nor the servers that vote about them be changed: configure what is \
         stored.\n{difference}"
    )]
    Different {
        /// The file.
        path: PathBuf,
        /// One line for each ring that differs.
        difference: String,
    },
}

/// Compares the configured placement with that of the directory, or writes it where there is none.
/// The directory must exist.
///
/// # Errors
/// See [`PlacementError`].
pub fn check_or_write(
    data_dir: &Path,
    cluster: &Cluster,
    me: ServerId,
) -> Result<(), PlacementError> {
    let path = data_dir.join(FILE_NAME);
    let configured = text(cluster, me);
    let io_error = |source| PlacementError::Io { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(stored) if stored == configured => Ok(()),
        Ok(stored) if stored.lines().next() != Some(FORMAT) => {
            Err(PlacementError::Unreadable { path })
        }
        Ok(stored) => {
            Err(PlacementError::Different { path, difference: difference(&stored, &configured) })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(data_dir, &configured).map_err(io_error)
        }
        Err(error) => Err(io_error(error)),
    }
}

/// The rings that a server learns, with their acceptors.
fn text(cluster: &Cluster, me: ServerId) -> String {
    let held = cluster.placement.iter().filter(|(_, servers)| servers.contains(&me));
    let rings = std::iter::once(RingId::GLOBAL).chain(held.map(|(id, _)| id.ring()));
    let lines =
        rings.map(|ring| format!("ring {ring} acceptors={}\n", list(&cluster.acceptors(ring))));
    format!("{FORMAT}\n{}", lines.collect::<String>())
}

/// Whole or not at all.
fn write(data_dir: &Path, text: &str) -> io::Result<()> {
    let temporary = data_dir.join("placement.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, data_dir.join(FILE_NAME))?;
    File::open(data_dir)?.sync_all()
}

fn difference(stored: &str, configured: &str) -> String {
    let parse = |text: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.split_once(" acceptors="));
        lines.map(|(ring, acceptors)| (ring.to_owned(), acceptors.to_owned())).collect()
    };
    let (stored, configured) = (parse(stored), parse(configured));
    let rings: BTreeSet<&String> = stored.keys().chain(configured.keys()).collect();
    let say = |acceptors: Option<&String>| match acceptors {
        Some(acceptors) => format!("servers {acceptors} vote"),
        None => "not on this server".to_owned(),
    };
    let differ = rings.into_iter().filter(|ring| stored.get(*ring) != configured.get(*ring));
    let lines = differ.map(|ring| {
        let (stored, configured) = (say(stored.get(ring)), say(configured.get(ring)));
        format!("  {ring}: stored: {stored}; configured: {configured}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClusterId, Member};
    use volery_proto::ids::PartitionId;

    fn cluster(placement: &[&[u8]]) -> Cluster {
        let member = |id: u8| Member {
            host: format!("host{id}"),
            peer_port: 2888,
            election_port: 3888,
            is_observer: false,
            client: None,
        };
        let ids = |ids: &[u8]| ids.iter().copied().map(ServerId).collect::<Vec<_>>();
        let places = placement.iter().map(|servers| ids(servers));
        Cluster {
            id: ClusterId { number: 1, is_configured: true },
            servers: (1..=4).map(|id| (ServerId(id), member(id))).collect(),
            placement: (1..).map(PartitionId).zip(places).collect(),
            global_acceptors: ids(&[1, 2, 3]),
            listen_on_all: false,
            tls: None,
            init_limit: 10,
            sync_limit: 5,
        }
    }

    /// Goal: a start with another placement than the directory was made for is refused, and says
    /// which rings differ and how.
    #[test]
    fn another_placement_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let check = |cluster| check_or_write(dir.path(), cluster, ServerId(1));
        let one = cluster(&[&[1, 2, 3, 4], &[1, 2], &[2, 3, 4]]);
        check(&one).expect("the first start");
        check(&one).expect("the same");
        let other = cluster(&[&[1, 2, 3, 4], &[2, 3], &[1, 2, 3]]);
        let error = check(&other).map_err(|error| error.to_string()).expect_err("refused");
        assert!(
            error.ends_with(
                "\n  ring 2: stored: servers 1,2 vote; configured: not on this server\n  \
                 ring 3: stored: not on this server; configured: servers 1,2,3 vote"
            ),
            "{error}"
        );
        fs::write(dir.path().join(FILE_NAME), "nonsense").expect("writable");
        let error = check(&one).map_err(|error| error.to_string()).expect_err("refused");
        assert!(error.contains("the first line is not format=1"), "{error}");
    }
}
