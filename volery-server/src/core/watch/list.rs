//! What the commands wchs, wchc and wchp show: ZooKeeper's data table only.
//! Changes nothing, and lists in the order of connections and paths.
//! Called by the admin room through the replica.

use bytestring::ByteString;

use super::modes::Modes;
use super::table::WatchTable;
use crate::core::types::ConnId;

/// wchs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Connections that watch.
    pub connections: usize,
    /// Paths that are watched.
    pub paths: usize,
    /// Pairs of them.
    pub watches: usize,
}

impl WatchTable {
    /// Counts of the data table.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let by_path = self.by_path();
        Summary {
            connections: self.by_connection().len(),
            paths: by_path.len(),
            watches: by_path.iter().map(|(_, connections)| connections.len()).sum(),
        }
    }

    /// wchp: every watched path with its connections.
    #[must_use]
    pub fn by_path(&self) -> Vec<(ByteString, Vec<ConnId>)> {
        let of_path = |watchers: &Vec<(ConnId, Modes)>| -> Vec<ConnId> {
            let data = watchers.iter().filter(|(_, modes)| modes.intersects(Modes::DATA_TABLE));
            data.map(|(conn, _)| *conn).collect()
        };
        let all = self.paths.iter().map(|(path, watchers)| (path.clone(), of_path(watchers)));
        all.filter(|(_, connections)| !connections.is_empty()).collect()
    }

    /// wchc: every connection with the paths it watches.
    #[must_use]
    pub fn by_connection(&self) -> Vec<(ConnId, Vec<ByteString>)> {
        let mut pairs: Vec<(ConnId, ByteString)> = self
            .by_path()
            .into_iter()
            .flat_map(|(path, conns)| conns.into_iter().map(move |conn| (conn, path.clone())))
            .collect();
        // Stable: the paths of a connection stay in their order.
        pairs.sort_by_key(|(conn, _)| *conn);
        let mut listed: Vec<(ConnId, Vec<ByteString>)> = Vec::new();
        for (conn, path) in pairs {
            match listed.last_mut() {
                Some((last, paths)) if *last == conn => paths.push(path),
                _ => listed.push((conn, vec![path])),
            }
        }
        listed
    }
}
