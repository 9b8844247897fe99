//! The handshake: a new session, or a client that comes back to its own. ZOOKEEPER.md 1.2.
//! The session itself is opened by a command on ring 0. Called by the server machine.

use bytes::Bytes;
use volery_proto::command::Operation;
use volery_proto::ids::{RingId, SessionId, Zxid};
use volery_proto::jute::{Jute, Writer};
use volery_proto::zk::{ConnectRequest, ConnectResponse};

use super::connection::Phase;
use super::{ClientEffect, CloseReason, FrontEnd, Waiter, no_password};
use crate::core::mutation::mutated;
use crate::core::types::{ConnId, Now};

/// A client's first frame, with what only the outside can give.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// As the client sent it.
    pub request: ConnectRequest,
    /// Random bytes: the password of a new session.
    pub entropy: [u8; 16],
}

/// What became of the session's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Session(SessionId),
    Unknown,
}

impl FrontEnd {
    /// Takes a handshake. `known` is above everything that any client can have been shown.
    pub fn handshake(&mut self, conn: ConnId, handshake: Handshake, known: Zxid, now: Now) {
        let Handshake { request, entropy } = handshake;
        self.packet(conn);
        self.totals.connection_requests += 1;
        let serving = self.takes_clients();
        let timeout_ms = u32::try_from(request.timeout_ms)
            .unwrap_or(0)
            .clamp(self.config.min_timeout_ms, self.config.max_timeout_ms);
        let session = match request.session {
            0 => self.new_session_id(now),
            given => SessionId(given),
        };
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        // A client that saw more than this service ever did came from another one: closed without
        // a word, as ZooKeeper does (ATTACKS row 20).
        let ahead = u64::try_from(request.last_zxid_seen).is_ok_and(|seen| seen > known.0);
        let ahead = ahead && !mutated!(AnyZxidSeen);
        if connection.phase != Phase::New || !serving || ahead {
            let reason = if ahead { CloseReason::Ahead } else { CloseReason::NotServed };
            return self.close(conn, reason);
        }
        connection.phase = Phase::Opening { read_only: request.read_only.is_some() };
        connection.timeout_ms = timeout_ms;
        connection.session = session;
        let operation = if request.session == 0 {
            connection.password = Bytes::copy_from_slice(&entropy);
            Operation::CreateSession { password: connection.password.clone(), timeout_ms }
        } else {
            connection.password = request.password.unwrap_or_default();
            Operation::ReopenSession { password: connection.password.clone(), timeout_ms }
        };
        let after = self.incarnation.unwrap_or_default();
        let command = self.command(session, Zxid::ZERO, after, operation);
        self.propose(RingId::GLOBAL, Waiter::Handshake(conn), command);
    }

    /// High byte the server, five bytes of the clock, two of a counter: as ZooKeeper's.
    fn new_session_id(&mut self, now: Now) -> SessionId {
        self.session_counter = self.session_counter.wrapping_add(1);
        let clock = ((now.unix_ms() as u64) << 24) >> 8;
        let id = u64::from(self.config.server.0) << 56
            | (clock & 0x00ff_ffff_ffff_0000)
            | u64::from(self.session_counter);
        SessionId(id as i64)
    }

    /// The session's command is executed: the client gets its answer, and its frontier is the
    /// command's zxid (ATTACKS row 11).
    pub(super) fn session_result(&mut self, conn: ConnId, zxid: Zxid, opened: &Opened) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let Phase::Opening { read_only } = connection.phase else { return };
        let response = match opened {
            Opened::Session(session) => {
                connection.phase = Phase::Open;
                connection.session = *session;
                connection.epoch = zxid;
                if !mutated!(ReopenKeepsFrontier) {
                    connection.observe(zxid);
                }
                ConnectResponse {
                    protocol_version: 0,
                    timeout_ms: connection.timeout_ms as i32,
                    session: session.0,
                    // Not kept: a client's is a slice of the buffer that it was read into.
                    password: Some(std::mem::take(&mut connection.password)),
                    read_only: read_only.then_some(false),
                }
            }
            Opened::Unknown => ConnectResponse {
                password: Some(no_password()),
                read_only: read_only.then_some(false),
                ..ConnectResponse::default()
            },
        };
        let mut w = Writer::append_to(std::mem::take(&mut connection.out));
        w.frame(|w| response.write(w));
        connection.out = w.into_inner();
        connection.stats.sent += 1;
        self.counters.sent += 1;
        match opened {
            Opened::Session(session) => {
                if let Some(old) = self.sessions.insert(*session, conn).filter(|old| *old != conn) {
                    self.close(old, CloseReason::SessionMoved);
                }
                self.effects.push(ClientEffect::Established { conn, session: *session });
            }
            Opened::Unknown => self.close(conn, CloseReason::SessionUnknown),
        }
        self.mark(conn);
    }
}
