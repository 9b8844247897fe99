//! Linearizable reads, where the server is asked for them: before it runs, a read waits for a
//! barrier that was proposed after the read had come, as if its client had said `sync`. All reads
//! that wait in the same turn share one. It runs nothing itself. Called where a read's turn comes,
//! and where the barrier's result comes back. DESIGN section 2.

use bytestring::ByteString;
use volery_proto::command::Operation;
use volery_proto::ids::{RingId, SessionId, Zxid};
use volery_proto::zk::Request;

use super::connection::{Connection, Work};
use super::{FrontEnd, Waiter};
use crate::core::mutation::mutated;
use crate::core::types::ConnId;

/// The barriers of one connection, by the numbers of its requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Barrier {
    /// Every read below this number has had one since it came.
    had: u64,
    /// One is on its way for every read below this number.
    asked: u64,
}

/// Whether a request answers with what znodes are. Watches are set and removed as ever: setting
/// one again waits for the session's frontier, which is all that it needs.
fn looks(request: &Request) -> bool {
    matches!(
        request,
        Request::Exists(_)
            | Request::GetData(_)
            | Request::GetChildren(_)
            | Request::GetChildren2(_)
            | Request::GetAcl(_)
            | Request::GetAllChildrenNumber(_)
            | Request::GetEphemerals(_)
            | Request::MultiRead(_)
    )
}

impl Connection {
    /// Whether the request of this number has to wait for a barrier.
    pub(super) fn lacks_barrier(&self, number: u64, work: &Work) -> bool {
        matches!(work, Work::Read(request) if looks(request))
            && number >= self.barrier.had
            && !mutated!(BarriersForgotten)
    }
}

impl FrontEnd {
    /// A read waits for a barrier: one is asked for, unless one is on its way for it.
    pub(super) fn ask_barrier(&mut self, conn: ConnId, number: u64) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if number >= connection.barrier.asked {
            // Whatever has come by now is before the barrier.
            connection.barrier.asked = connection.first + connection.queue.len() as u64;
            self.barriers.push(conn);
        }
    }

    /// Proposes the barrier that this turn's reads wait for.
    pub(super) fn propose_barrier(&mut self) {
        if !self.barriers.is_empty() {
            let conns = std::mem::take(&mut self.barriers);
            let operation = Operation::Sync(ByteString::new());
            let command = self.command(SessionId(0), Zxid::ZERO, Zxid::ZERO, operation);
            self.propose(RingId::GLOBAL, Waiter::Barrier(conns), command);
        }
    }

    /// The barrier is executed: its zxid is above everything that anybody had been shown when it
    /// was proposed, and so are the reads that waited for it.
    pub(super) fn barrier_passed(&mut self, conns: Vec<ConnId>, zxid: Zxid) {
        for conn in conns {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.barrier.had = match mutated!(BarriersReused) {
                    true => u64::MAX,
                    false => connection.barrier.asked,
                };
                connection.observe(zxid);
                self.mark(conn);
            }
        }
    }
}
