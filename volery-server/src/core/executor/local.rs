//! What a replica does for clients of its own server: reads and watches, at its position now.
//! Nothing here is replicated. It never waits: the front end asks when the position is far
//! enough. Called through the front end's `Replicas`.

use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::ids::{SessionId, Zxid};
use volery_proto::jute::Writer;
use volery_proto::zk::{ErrorCode, GetEphemeralsRequest, Id, PathRequest, Request, SetWatches2};

use super::{Partition, Scope};
use crate::core::mutation::mutated;
use crate::core::read::{self, ReadContext, ReadOutcome, ReadReply};
use crate::core::types::ConnId;
use crate::core::watch::{self, EventType, WatchKind};

/// On whose behalf.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The connection.
    pub conn: ConnId,
    /// Its session.
    pub session: SessionId,
    /// What it has proved.
    pub identities: &'a Arc<[Id]>,
    /// `skipACL`.
    pub skip_acl: bool,
}

/// What a read came to; the body is in the writer that was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// 0, or the error code.
    pub err: i32,
    /// The frontier rises to this.
    pub observed: Zxid,
    /// The connection holds a watch here now.
    pub watching: bool,
}

/// One path of a setWatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Again {
    /// The event type that is to be told at once, instead of a registration.
    pub event: Option<EventType>,
    /// As for a read.
    pub served: Served,
}

/// The lists of a setWatches2, in the order in which they are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchList {
    /// getData, and exists on a znode that was there.
    Data,
    /// exists on a znode that was not.
    Exist,
    /// getChildren.
    Child,
    /// addWatch mode 0.
    Persistent,
    /// addWatch mode 1.
    Recursive,
}

impl WatchList {
    /// In order.
    pub const ALL: [WatchList; 5] = [
        WatchList::Data,
        WatchList::Exist,
        WatchList::Child,
        WatchList::Persistent,
        WatchList::Recursive,
    ];

    /// Its paths.
    #[must_use]
    pub fn of(self, lists: &SetWatches2) -> &[ByteString] {
        match self {
            WatchList::Data => &lists.data,
            WatchList::Exist => &lists.exist,
            WatchList::Child => &lists.child,
            WatchList::Persistent => &lists.persistent,
            WatchList::Recursive => &lists.recursive,
        }
    }
}

fn failed(code: ErrorCode, observed: Zxid) -> Served {
    Served { err: code.code(), observed, watching: false }
}

impl Partition {
    /// Whether a read of this scope may run here for a session with this frontier: everything up
    /// to the frontier that could change its scope is executed. What is set aside above it is no
    /// obstacle for one znode: the read then sees it as it is before the first of them, and
    /// observes less (`observed`). A larger scope has no such point, as commands have passed.
    #[must_use]
    pub fn shows(&self, scope: Scope<'_>, frontier: Zxid) -> bool {
        if self.delivered() < frontier {
            return false;
        }
        match (self.aside.first_in(scope), scope) {
            (None, _) => true,
            (Some(first), Scope::Znode(path)) => {
                // The end of a session comes in parts: one that has changed the child list here
                // must not be seen without the other.
                let in_parts = self.tree.get(path).is_some_and(|node| node.last_change() >= first);
                first > frontier && (!in_parts || mutated!(PartsSeen))
            }
            (Some(_), _) => false,
        }
    }

    /// Through which zxid a read of this scope shows every change, if it may run at all.
    pub(super) fn shown_through(&self, scope: Scope<'_>) -> Zxid {
        let first = self.aside.first_in(scope).map(|first| Zxid(first.0 - 1));
        first.into_iter().fold(self.delivered(), Zxid::min)
    }

    /// What a read of one znode has observed: nothing of the commands set aside that may change
    /// it, however late the change that stands for what it saw.
    fn observed(&self, path: &str, observed: Zxid) -> Zxid {
        match self.aside.first_in(Scope::Znode(path)) {
            Some(first) if !mutated!(ReadsObservePast) => observed.min(Zxid(first.0 - 1)),
            _ => observed,
        }
    }

    fn context<'a>(&self, client: &Client<'a>) -> ReadContext<'a> {
        ReadContext {
            session: client.session,
            identities: client.identities,
            skip_acl: client.skip_acl,
            last_write: self.last_write,
        }
    }

    /// Runs a read of one path, registers its watch, and appends the reply's body.
    pub fn read(&mut self, client: &Client<'_>, request: &Request, w: &mut Writer) -> Served {
        let context = self.context(client);
        let ReadOutcome { reply, observed, watch } = read::read(request, &self.tree, &context);
        let err = match &reply {
            Ok(reply) => {
                reply.write_body(w);
                0
            }
            Err(code) => code.code(),
        };
        if let (Some(kind), Some(path)) = (watch, watched_path(request)) {
            self.watches.set_identities(client.conn, client.identities.clone());
            self.watches.add(path, client.conn, kind);
        }
        let observed = path_of(request).map_or(observed, |path| self.observed(path, observed));
        Served { err, observed, watching: watch.is_some() }
    }

    /// This partition's share of getAllChildrenNumber; `whole`: it owns the path, and checks it.
    pub fn count_below(
        &self,
        client: &Client<'_>,
        path: &ByteString,
        whole: bool,
    ) -> (i32, Served) {
        let context = self.context(client);
        let outcome = if whole {
            let request = Request::GetAllChildrenNumber(PathRequest { path: path.clone() });
            read::read(&request, &self.tree, &context)
        } else {
            read::count_below(path, &self.tree, &context)
        };
        let observed = outcome.observed;
        match outcome.reply {
            Ok(ReadReply::Number(number)) => (number, Served { observed, ..Served::default() }),
            Ok(_) => (0, Served { observed, ..Served::default() }),
            Err(code) => (0, failed(code, observed)),
        }
    }

    /// This partition's share of getEphemerals.
    pub fn ephemerals(
        &self,
        client: &Client<'_>,
        prefix: Option<&str>,
    ) -> (Vec<ByteString>, Served) {
        let request =
            Request::GetEphemerals(GetEphemeralsRequest { prefix: prefix.map(ByteString::from) });
        let outcome = read::read(&request, &self.tree, &self.context(client));
        let served = Served { observed: outcome.observed, ..Served::default() };
        match outcome.reply {
            Ok(ReadReply::Paths(paths)) => (paths, served),
            _ => (Vec::new(), served),
        }
    }

    /// addWatch: never fails, whatever the znode.
    pub fn add_watch(&mut self, client: &Client<'_>, path: &ByteString, mode: i32) -> Served {
        let kind = if mode == 1 { WatchKind::Recursive } else { WatchKind::Persistent };
        self.watches.set_identities(client.conn, client.identities.clone());
        self.watches.add(path, client.conn, kind);
        Served { watching: true, ..Served::default() }
    }

    /// One path of a setWatches: an event now, or a registration.
    pub fn watch_again(
        &mut self,
        client: &Client<'_>,
        list: WatchList,
        path: &ByteString,
        since: Zxid,
    ) -> Again {
        let mut lists = SetWatches2 { relative_zxid: since.as_i64(), ..SetWatches2::default() };
        match list {
            WatchList::Data => lists.data.push(path.clone()),
            WatchList::Exist => lists.exist.push(path.clone()),
            WatchList::Child => lists.child.push(path.clone()),
            WatchList::Persistent => lists.persistent.push(path.clone()),
            WatchList::Recursive => lists.recursive.push(path.clone()),
        }
        self.watches.set_identities(client.conn, client.identities.clone());
        let again =
            watch::set_watches(&mut self.watches, client.conn, &lists, &self.tree, self.last_write);
        let event = again.events.into_iter().next().map(|event| event.kind);
        let observed = self.observed(path, again.observed);
        let served = Served { err: 0, observed, watching: event.is_none() };
        Again { event, served }
    }

    /// checkWatches.
    #[must_use]
    pub fn has_watch(&self, conn: ConnId, path: &str, watcher_type: i32) -> bool {
        watch::WatcherType::from_i32(watcher_type)
            .is_ok_and(|wanted| self.watches.contains(path, conn, wanted))
    }

    /// removeWatches.
    pub fn remove_watch(&mut self, conn: ConnId, path: &str, watcher_type: i32) -> bool {
        watch::WatcherType::from_i32(watcher_type)
            .is_ok_and(|wanted| self.watches.remove(path, conn, wanted))
    }

    /// Whether the connection holds any watch here.
    #[must_use]
    pub fn watches_for(&self, conn: ConnId) -> bool {
        self.watches.holds(conn)
    }

    /// The connection proved more: events are filtered by what it may read.
    pub fn set_identities(&mut self, conn: ConnId, identities: Arc<[Id]>) {
        self.watches.set_identities(conn, identities);
    }

    /// `skipACL`: events go to whoever watches. To be said before anybody does.
    pub fn skip_acl(&mut self) {
        self.watches = watch::WatchTable::new(true);
    }

    /// The connection is gone, and its watches with it.
    pub fn drop_connection(&mut self, conn: ConnId) {
        self.watches.remove_connection(conn);
    }
}

fn path_of(request: &Request) -> Option<&ByteString> {
    match request {
        Request::GetAcl(r) => Some(&r.path),
        _ => watched_path(request),
    }
}

fn watched_path(request: &Request) -> Option<&ByteString> {
    match request {
        Request::Exists(r)
        | Request::GetData(r)
        | Request::GetChildren(r)
        | Request::GetChildren2(r) => Some(&r.path),
        _ => None,
    }
}
