//! The replicated session table of a partition: who may write, and who still lives.
//! It never expires anything by itself and sees no clock. Called by the executor.

pub mod expiry;

use std::collections::BTreeMap;

use bytes::Bytes;
use volery_proto::ids::{ServerId, SessionId, Zxid};
use volery_proto::zk::ErrorCode;

use crate::core::mutation::mutated;

/// A live session, as every partition knows it. Only ring 0 writes this table, so all partitions
/// decide alike about a command's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Checked on every re-open.
    pub password: Bytes,
    /// Negotiated time-out.
    pub timeout_ms: u32,
    /// The zxid of the last (re-)open.
    pub epoch: Zxid,
    /// The front end that the client is connected to.
    pub server: ServerId,
}

/// All live sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionTable {
    sessions: BTreeMap<SessionId, Session>,
}

impl SessionTable {
    /// A session begins.
    pub fn open(&mut self, id: SessionId, session: Session) {
        self.sessions.insert(id, session);
    }

    /// A client comes back. Gives its new record, or `None` for a wrong password or a dead
    /// session.
    pub fn reopen(
        &mut self,
        id: SessionId,
        password: &[u8],
        timeout_ms: u32,
        epoch: Zxid,
        server: ServerId,
    ) -> Option<&Session> {
        let session = self.sessions.get_mut(&id).filter(|s| s.password == password)?;
        session.timeout_ms = timeout_ms;
        session.epoch = epoch;
        session.server = server;
        Some(session)
    }

    /// The session ends, if `epoch` still is its epoch: a re-open ordered first makes the closing
    /// a no-op (ATTACKS row 26). Returns whether it ended.
    pub fn close(&mut self, id: SessionId, epoch: Zxid) -> bool {
        let ends = self
            .sessions
            .get(&id)
            .is_some_and(|s| s.epoch == epoch || mutated!(ClosingIgnoresEpoch));
        if ends {
            self.sessions.remove(&id);
        }
        ends
    }

    /// Whether a write of this session and epoch may execute.
    ///
    /// # Errors
    /// The session is gone, or was re-opened since.
    pub fn check(&self, id: SessionId, epoch: Zxid) -> Result<(), ErrorCode> {
        match self.sessions.get(&id) {
            None => Err(ErrorCode::SessionExpired),
            Some(session) if session.epoch != epoch && !mutated!(EpochIgnored) => {
                Err(ErrorCode::SessionMoved)
            }
            Some(_) => Ok(()),
        }
    }

    /// All of them, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// How many live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether none lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}
