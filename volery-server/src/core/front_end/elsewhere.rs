//! What replicas on other servers mean for the connections of this one: answers, events, and what
//! ends with an attachment. It asks nobody. Called by the server machine. DESIGN section 7.

use volery_proto::ids::{PartitionId, RingId, Zxid};

use super::connection::{Connection, Phase, State};
use super::numbering::Waiter;
use super::{CloseReason, FrontEnd};
use crate::core::executor::Answer;
use crate::core::mutation::mutated;
use crate::core::oracle::Destination;
use crate::core::types::ConnId;
use crate::core::watch;

impl Connection {
    /// Whether it has something to do with a partition elsewhere that it cannot do without one and
    /// the same replica. `here`: which partitions this server has.
    fn depends_on(&self, partition: PartitionId, here: &dyn Fn(PartitionId) -> bool) -> bool {
        // Re-registered elsewhere, a watch would skip what the lost replica has not told.
        let watches = self.watched.contains(&partition) && !mutated!(AttachmentForgotten);
        let mut begun = self.queue.iter().take(self.begun);
        watches
            || self.stuck == Some(partition)
            || begun.any(|item| match (&item.state, &item.destination) {
                (State::Reading(parts), _) => parts.waits_for(partition),
                (State::Ordered, Some(Destination::One(one))) => *one == partition,
                // Where it is executed here too, the result is known here.
                (State::Ordered, Some(Destination::Several(several))) => {
                    several.contains(&partition) && !several.iter().any(|p| here(*p))
                }
                _ => false,
            })
    }
}

impl FrontEnd {
    /// A replica elsewhere has answered. Of a read that nobody waits for any more: nothing.
    pub fn answered(&mut self, partition: PartitionId, conn: ConnId, ask: u64, answer: Answer) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.holds(partition, answer.holds);
        if let Some(State::Reading(parts)) = connection.last_begun().map(|item| &mut item.state)
            && parts.answered(ask, answer)
        {
            self.mark(conn);
        }
    }

    /// A watch fired at a replica elsewhere. `holds`: the connection has more of them there.
    pub fn event_elsewhere(
        &mut self,
        partition: PartitionId,
        zxid: Zxid,
        event: watch::Event,
        holds: bool,
    ) {
        if let Some(connection) = self.connections.get_mut(&event.conn) {
            connection.holds(partition, holds);
        }
        self.event(zxid, event);
    }

    /// A replica elsewhere answers from now on; through this number it has executed, or will say
    /// nothing of, what this front end gave to its ring.
    pub fn replica_begins(&mut self, partition: PartitionId, through: u64) {
        self.numberings[usize::from(partition.0)].discard_through(through);
    }

    /// No replica of a partition answers, or another than before: whoever cannot go on with
    /// another is closed. The client's own reconnect is the way that is tested, and persistent
    /// watches have no other (ATTACKS row 17).
    pub fn replica_lost(&mut self, partition: PartitionId, here: &dyn Fn(PartitionId) -> bool) {
        let open = self.connections.values().filter(|c| c.phase == Phase::Open);
        let lost: Vec<ConnId> =
            open.filter(|c| c.depends_on(partition, here)).map(|c| c.id).collect();
        for conn in lost {
            self.close(conn, CloseReason::ReplicaLost);
        }
        // Results of theirs may never come.
        let connections = &self.connections;
        let waits = |waiter: &Waiter| match waiter {
            Waiter::Request(conn, _) => {
                connections.get(conn).is_some_and(|c| c.phase != Phase::Closing)
            }
            Waiter::Nobody | Waiter::Handshake(_) | Waiter::Barrier(_) => true,
        };
        self.numberings[usize::from(RingId::GLOBAL.0)].retain(waits);
    }
}
