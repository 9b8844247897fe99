//! A read as a front end asks for it, wherever it is: run here, if the replica shows everything
//! that the session has seen, with the watch that it sets, and what it showed. It never waits.
//! Called through the front end's `Replicas`, and for front ends elsewhere by the server machine.

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::ids::Zxid;
use volery_proto::jute::{Jute, Writer};
use volery_proto::zk::{GetEphemeralsResponse, Request, SetWatches2};

use super::local::{Again, Client, Served, WatchList};
use super::{Partition, Scope};

/// What a read at a replica came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// 0, or the error code.
    pub err: i32,
    /// The frontier rises to this.
    pub observed: Zxid,
    /// It shows every change up to here, and none above.
    pub through: Zxid,
    /// The connection holds watches at this replica now.
    pub holds: bool,
    /// Of getAllChildrenNumber this partition's share; of setWatches the type of the event that is
    /// to be told at once, 0: none; of checkWatches and removeWatches 1, if there was any.
    pub number: i32,
    /// Of the reply; of getEphemerals this partition's share in the same form.
    pub body: Bytes,
}

/// The one path of a setWatches2 that holds one, and in which list it is.
#[must_use]
pub fn path_again(lists: &SetWatches2) -> Option<(WatchList, &ByteString)> {
    WatchList::ALL.into_iter().find_map(|list| Some((list, list.of(lists).first()?)))
}

/// What a read looks at.
fn scope(request: &Request) -> Scope<'_> {
    match request {
        Request::Exists(r) | Request::GetData(r) => Scope::Znode(&r.path),
        Request::GetChildren(r) | Request::GetChildren2(r) => Scope::Znode(&r.path),
        Request::GetAcl(r) => Scope::Znode(&r.path),
        Request::GetAllChildrenNumber(r) => Scope::Subtree(&r.path),
        Request::AddWatch(r) if r.mode == 1 => Scope::Subtree(&r.path),
        Request::AddWatch(r) => Scope::Znode(&r.path),
        Request::SetWatches2(lists) => match path_again(lists) {
            Some((WatchList::Recursive, path)) => Scope::Subtree(path),
            Some((_, path)) => Scope::Znode(path),
            None => Scope::Everything,
        },
        _ => Scope::Everything,
    }
}

impl Partition {
    /// Runs a read of one path (of a setWatches: one path of its lists), or this partition's share
    /// of a read over all. `whole`: the path of a getAllChildrenNumber is this partition's.
    /// `None`: the replica does not yet show all that a session with this frontier has seen.
    pub fn ask(
        &mut self,
        client: &Client<'_>,
        request: &Request,
        whole: bool,
        frontier: Zxid,
    ) -> Option<Answer> {
        match request {
            // They look at no znode.
            Request::CheckWatches(r) => {
                let found = self.has_watch(client.conn, &r.path, r.watcher_type);
                return Some(self.found(client, found));
            }
            Request::RemoveWatches(r) => {
                let found = self.remove_watch(client.conn, &r.path, r.watcher_type);
                return Some(self.found(client, found));
            }
            _ => {}
        }
        let scope = scope(request);
        if !self.shows(scope, frontier) {
            return None;
        }
        let through = self.shown_through(scope);
        let (served, number, body) = self.run(client, request, whole);
        let Served { err, observed, .. } = served;
        let holds = self.watches_for(client.conn);
        Some(Answer { err, observed, through, holds, number, body })
    }

    fn found(&self, client: &Client<'_>, found: bool) -> Answer {
        let (through, holds) = (self.delivered(), self.watches_for(client.conn));
        Answer { through, holds, number: i32::from(found), ..Answer::default() }
    }

    fn run(&mut self, client: &Client<'_>, request: &Request, whole: bool) -> (Served, i32, Bytes) {
        match request {
            Request::GetAllChildrenNumber(r) => {
                let (number, served) = self.count_below(client, &r.path, whole);
                (served, number, Bytes::new())
            }
            Request::GetEphemerals(r) => {
                let (ephemerals, served) = self.ephemerals(client, r.prefix.as_deref());
                let mut w = Writer::new();
                GetEphemeralsResponse { ephemerals }.write(&mut w);
                (served, 0, w.finish())
            }
            Request::AddWatch(r) => (self.add_watch(client, &r.path, r.mode), 0, Bytes::new()),
            Request::SetWatches2(lists) => {
                let Some((list, path)) = path_again(lists) else { return Default::default() };
                let since = Zxid(lists.relative_zxid as u64);
                let Again { event, served } = self.watch_again(client, list, path, since);
                (served, event.map_or(0, |event| event as i32), Bytes::new())
            }
            request => {
                let mut w = Writer::new();
                let served = self.read(client, request, &mut w);
                (served, 0, w.finish())
            }
        }
    }
}
