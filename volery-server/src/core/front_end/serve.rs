//! Requests that no ring orders: reads at replicas, watches, authentication. A read runs where
//! the partition is executed through the session's frontier, and raises it by what it observed.
//! It never writes. Called by `order` when a request's turn has come. DESIGN section 7.

use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::ids::Zxid;
use volery_proto::jute::{Jute, Writer};
use volery_proto::zk::{
    AuthPacket, ErrorCode, ReadOp, ReplyHeader, Request, WatcherEvent, WhoAmIResponse,
};

use super::connection::{Reply, State};
use super::parts::{Outcome, Parts};
use super::{FrontEnd, Replicas, parts};
use crate::core::auth;
use crate::core::types::ConnId;
use crate::core::watch;

/// ZooKeeper keeps the root under a second key, the empty path, and plain look-ups find it there;
/// a watch on that key never fires.
fn root_of_nothing(mut request: Request) -> Request {
    let root = |path: &mut ByteString| {
        let is_empty = path.is_empty();
        if is_empty {
            *path = ByteString::from_static("/");
        }
        is_empty
    };
    match &mut request {
        Request::Exists(r)
        | Request::GetData(r)
        | Request::GetChildren(r)
        | Request::GetChildren2(r) => r.watch &= !root(&mut r.path),
        Request::GetAcl(r) | Request::GetAllChildrenNumber(r) => {
            root(&mut r.path);
        }
        Request::MultiRead(ops) => {
            for op in ops {
                let (ReadOp::GetChildren(r) | ReadOp::GetData(r)) = op;
                root(&mut r.path);
            }
        }
        _ => {}
    }
    request
}

/// Writes an event's frame.
pub(super) fn write_event(w: &mut Writer, zxid: i64, event: &WatcherEvent) {
    w.frame(|w| {
        ReplyHeader { xid: -1, zxid, err: 0 }.write(w);
        event.write(w);
    });
}

impl FrontEnd {
    /// Begins a read.
    pub(super) fn read(
        &mut self,
        conn: ConnId,
        number: u64,
        request: Request,
        replicas: &mut Replicas<'_>,
    ) {
        let request = match root_of_nothing(request) {
            Request::SetWatches(lists) => Request::SetWatches2(watch::widen(lists)),
            Request::AddWatch(ref r) if !(0..=1).contains(&r.mode) => {
                return self.refuse(conn, number, ErrorCode::MarshallingError);
            }
            Request::CheckWatches(r) | Request::RemoveWatches(r)
                if !(1..=5).contains(&r.watcher_type) =>
            {
                return self.refuse(conn, number, ErrorCode::MarshallingError);
            }
            request => request,
        };
        let skip_acl = self.config.flags.skip_acl;
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if let Some(outcome) = parts::at_once(&request, connection, skip_acl, replicas) {
            let Outcome { err, body, .. } = outcome;
            return self.answer(conn, number, Reply { err, body, ..Reply::default() });
        }
        let parts = Parts::plan(request, replicas.map());
        self.run(conn, number, parts, replicas);
    }

    fn refuse(&mut self, conn: ConnId, number: u64, code: ErrorCode) {
        self.answer(conn, number, Reply { err: code.code(), ..Reply::default() });
    }

    /// Runs a read as far as it comes now.
    fn run(&mut self, conn: ConnId, number: u64, mut parts: Parts, replicas: &mut Replicas<'_>) {
        let skip_acl = self.config.flags.skip_acl;
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.reading = !parts.run(connection, skip_acl, replicas, &mut self.stale);
        if connection.reading {
            let (destination, behind) = (parts.destination(), parts.is_behind());
            if let Some(item) = connection.item_mut(number) {
                item.destination = Some(destination);
                item.state = State::Reading(Box::new(parts));
            }
            if behind {
                self.blocked.push(conn);
            }
            return;
        }
        let Outcome { err, body, before, through } = parts.finish(connection);
        let zxid = through.map_or(Zxid::ZERO, |through| through.min(connection.frontier));
        if let Some(item) = connection.item_mut(number) {
            item.destination = None;
        }
        self.answer(conn, number, Reply { zxid, err, body, before, ..Reply::default() });
    }

    /// Goes on with the read that waits, if its replica has come far enough.
    pub(super) fn resume(&mut self, conn: ConnId, replicas: &mut Replicas<'_>) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let number = (connection.first + connection.begun as u64).saturating_sub(1);
        let Some(item) = connection.last_begun() else { return };
        if let State::Reading(parts) = std::mem::replace(&mut item.state, State::Ordered) {
            self.run(conn, number, *parts, replicas);
        }
    }

    pub(super) fn who_am_i(&mut self, conn: ConnId, number: u64) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let mut w = Writer::new();
        WhoAmIResponse { infos: auth::client_infos(&connection.identities) }.write(&mut w);
        self.answer(conn, number, Reply { body: w.finish(), ..Reply::default() });
    }

    /// An auth packet: the connection's identities grow, or it ends.
    pub(super) fn authenticate(
        &mut self,
        conn: ConnId,
        number: u64,
        packet: &AuthPacket,
        replicas: &mut Replicas<'_>,
    ) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let reply = Reply { hide_zxid: true, ..Reply::default() };
        let address = connection.peer.ip().to_canonical().to_string();
        let config = auth::AuthConfig {
            digest_enabled: self.config.digest_enabled,
            super_digest: self.config.super_digest.as_deref(),
            remote_address: &address,
        };
        let reply = match auth::authenticate(packet, &config) {
            Ok(ids) => {
                let mut identities = connection.identities.to_vec();
                for id in ids {
                    if !identities.contains(&id) {
                        identities.push(id);
                    }
                }
                connection.identities = Arc::from(identities);
                for partition in &connection.watched {
                    let identities = connection.identities.clone();
                    replicas.set_identities(*partition, conn, identities);
                }
                reply
            }
            Err(code) => {
                self.totals.auth_failures += 1;
                Reply { err: code.code(), close: true, ..reply }
            }
        };
        self.answer(conn, number, reply);
    }
}
