//! Somebody reads at a replica, wherever it is: what is shown must be what was at the highest zxid
//! observed, and a watch fires with the first change after that.

use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::ids::{PartitionId, Zxid};
use volery_proto::jute::Writer;
use volery_proto::zk::{PathRequest, Request, WatchedPathRequest};

use super::reference::{LISTED, Node, SUBTREES};
use super::script::PATHS;
use super::world::World;
use crate::core::executor::Scope;
use crate::core::executor::local::Client;
use crate::core::types::ConnId;
use crate::core::watch::EventType;

/// Whose one-shots they are.
pub(super) const READER: ConnId = ConnId(2);

impl World<'_> {
    /// Somebody reads: what is shown must be what was, at the highest zxid observed.
    pub(super) fn read(&mut self, at: usize) -> Result<(), String> {
        let which = self.random.below(self.script.steps.len());
        let frontier = match self.random.below(3) {
            0 => Zxid(self.script.steps[which].zxid.0 - 1),
            1 => self.script.steps[which].zxid,
            _ => self.replicas[at].partition.position(),
        };
        let path = self.random.below(PATHS.len());
        let subtree = self.random.below(SUBTREES.len());
        let (with_list, watch) = (self.random.chance(20), self.random.chance(30));
        let partition = &mut self.replicas[at].partition;
        let id = partition.id();
        let identities = Arc::from([]);
        let client =
            Client { conn: READER, session: LISTED, identities: &identities, skip_acl: true };
        let znode = Scope::Znode(PATHS[path]);
        if self.script.map.owner(PATHS[path]) == id && partition.shows(znode, frontier) {
            let request = match which % 3 {
                0 => Request::Exists(WatchedPathRequest { path: PATHS[path].into(), watch }),
                1 => Request::GetData(WatchedPathRequest { path: PATHS[path].into(), watch }),
                _ => Request::GetAcl(PathRequest { path: PATHS[path].into() }),
            };
            let served = partition.read(&client, &request, &mut Writer::new());
            let observed = served.observed;
            let shown = Node::of(partition.tree(), PATHS[path]);
            let wanted = self.reference.node(id, path, frontier.max(observed));
            if served.watching {
                let fires = self.first_change(id, PATHS[path], frontier.max(observed));
                self.replicas[at].watching.insert(PATHS[path].into(), fires);
            }
            if shown.as_ref() != wanted {
                return Err(format!(
                    "replica {at}: {} at {frontier}, {observed} is {shown:?}, not {wanted:?}",
                    PATHS[path]
                ));
            }
        }
        let partition = &mut self.replicas[at].partition;
        let delivered = partition.delivered();
        if partition.shows(Scope::Subtree(SUBTREES[subtree]), frontier) {
            let (shown, _) = partition.count_below(&client, &SUBTREES[subtree].into(), false);
            let wanted = self.reference.below(id, subtree, delivered);
            if wanted.is_some_and(|wanted| wanted != shown as usize) {
                return Err(format!("replica {at}: {shown} znodes at {delivered}, not {wanted:?}"));
            }
        }
        if with_list && partition.shows(Scope::Everything, frontier) {
            let (shown, _) = partition.ephemerals(&client, None);
            if shown != self.reference.ephemerals(id, delivered) {
                return Err(format!("replica {at}: at {delivered} ephemerals are {shown:?}"));
            }
        }
        Ok(())
    }

    /// When a znode came, went or got data, after `zxid`.
    fn first_change(&self, id: PartitionId, path: &str, zxid: Zxid) -> Option<Zxid> {
        let events = self.reference.events.get(&id)?;
        let from = (Zxid(zxid.0 + 1), EventType::NodeCreated, ByteString::new());
        let mut later = events.range(from..);
        let is_own = |kind: &EventType| *kind != EventType::NodeChildrenChanged;
        later.find(|(_, kind, of)| is_own(kind) && of == path).map(|(zxid, _, _)| *zxid)
    }
}
