//! How the front end reaches the replicas that serve it, here or on another server: requests,
//! positions, what waits. It only passes on. Made by the server machine for each batch.

use std::sync::Arc;

use volery_proto::ids::{PartitionId, Zxid};
use volery_proto::zk::{Id, Request};

use super::attachment::{Ask, AskRead, Attachments};
use crate::core::executor::{Answer, Client, Partition};
use crate::core::merge::skip::Demands;
use crate::core::oracle::PartitionMap;
use crate::core::types::ConnId;

/// The replicas that serve one server's clients, and the demands for what they wait for.
#[derive(Debug)]
pub struct Replicas<'a> {
    partitions: &'a mut [Partition],
    attachments: &'a mut Attachments,
    map: &'a PartitionMap,
    demands: &'a mut Demands,
    /// Every partition is executed through this.
    least: Zxid,
}

/// What becomes of a read.
#[derive(Debug)]
pub(super) enum Asked {
    /// It was run.
    Now(Answer),
    /// The answer comes with this number.
    Later(u64),
    /// It cannot be run now: to be asked again.
    Behind,
}

impl<'a> Replicas<'a> {
    /// The replicas that are here, in the order of their partitions, and those of the others.
    pub fn new(
        partitions: &'a mut [Partition],
        attachments: &'a mut Attachments,
        map: &'a PartitionMap,
        demands: &'a mut Demands,
    ) -> Replicas<'a> {
        let least = partitions.iter().map(Partition::position).chain(attachments.least()).min();
        let least = least.unwrap_or_default();
        Replicas { partitions, attachments, map, demands, least }
    }

    /// The partition map.
    #[must_use]
    pub fn map(&self) -> &'a PartitionMap {
        self.map
    }

    fn here(&self, id: PartitionId) -> Option<&Partition> {
        let at = self.partitions.binary_search_by_key(&id, Partition::id).ok()?;
        self.partitions.get(at)
    }

    fn here_mut(&mut self, id: PartitionId) -> Option<&mut Partition> {
        let at = self.partitions.binary_search_by_key(&id, Partition::id).ok()?;
        self.partitions.get_mut(at)
    }

    /// Whether anything of a partition is known: it is here, or a replica of it is reached.
    pub(super) fn is_reached(&self, id: PartitionId) -> bool {
        self.here(id).is_some() || self.attachments.is_up(id)
    }

    /// How far a partition is executed where it serves this server: no event up to this is still
    /// to come.
    #[must_use]
    pub fn position(&self, id: PartitionId) -> Zxid {
        self.here(id).map_or_else(|| self.attachments.executed(id), Partition::position)
    }

    /// How far it is delivered there: executed, but for what is set aside.
    #[must_use]
    pub fn delivered(&self, id: PartitionId) -> Zxid {
        self.here(id).map_or_else(|| self.attachments.delivered(id), Partition::delivered)
    }

    /// Whether it is known to hold commands that it cannot go on with; of a replica elsewhere it is
    /// known only if somebody waits for it.
    #[must_use]
    pub fn is_held_up(&self, id: PartitionId) -> bool {
        self.here(id).is_some_and(Partition::is_held_up)
    }

    /// The partition that is furthest here, and how far it is delivered.
    pub(super) fn ahead_here(&self) -> Option<(PartitionId, Zxid)> {
        let here = self.partitions.iter().map(|p| (p.id(), p.delivered()));
        here.max_by_key(|(_, delivered)| *delivered)
    }

    /// How far every partition is executed.
    #[must_use]
    pub fn least_position(&self) -> Zxid {
        self.least
    }

    /// Somebody waits for a partition to be executed through `zxid`: its rings are to pass it.
    pub fn wait_for(&mut self, id: PartitionId, zxid: Zxid) {
        if self.here(id).is_some() {
            self.demands.wait_for(0, zxid.slot());
            self.demands.wait_for(usize::from(id.0), zxid.slot());
        } else {
            self.attachments.want(id, zxid);
        }
    }

    /// Runs a read of one znode, if it is here and can be read now.
    pub(super) fn ask_here(
        &mut self,
        id: PartitionId,
        client: &Client<'_>,
        request: &Request,
        frontier: Zxid,
    ) -> Option<Answer> {
        self.here_mut(id)?.ask(client, request, true, frontier)
    }

    /// Runs a read, or asks for it. See `Partition::ask`.
    pub(super) fn ask(
        &mut self,
        id: PartitionId,
        client: &Client<'_>,
        (request, whole): (&Request, bool),
        frontier: Zxid,
    ) -> Asked {
        if let Some(replica) = self.here_mut(id) {
            return match replica.ask(client, request, whole, frontier) {
                Some(answer) => Asked::Now(answer),
                None => Asked::Behind,
            };
        }
        let read = AskRead {
            conn: client.conn,
            ask: 0,
            session: client.session,
            identities: client.identities.clone(),
            skip_acl: client.skip_acl,
            frontier,
            whole,
            request: request.clone(),
        };
        self.attachments.read(id, read).map_or(Asked::Behind, Asked::Later)
    }

    /// Whether the connection may hold watches there. Of a replica elsewhere answers and events
    /// say so, as they come.
    pub(super) fn may_hold(&self, id: PartitionId, conn: ConnId) -> bool {
        self.here(id).is_none_or(|replica| replica.watches_for(conn))
    }

    /// The connection has proved more: events are filtered by what it may read.
    pub(super) fn set_identities(&mut self, id: PartitionId, conn: ConnId, identities: Arc<[Id]>) {
        match self.here_mut(id) {
            Some(replica) => replica.set_identities(conn, identities),
            None => self.attachments.say(id, Ask::Identities { conn, identities }),
        }
    }

    /// The connection is gone, and its watches with it.
    pub(super) fn drop_connection(&mut self, id: PartitionId, conn: ConnId) {
        match self.here_mut(id) {
            Some(replica) => replica.drop_connection(conn),
            None => self.attachments.say(id, Ask::Gone(conn)),
        }
    }
}
