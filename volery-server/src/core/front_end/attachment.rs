//! What a front end says to replicas on other servers, and what it hears from them: requests,
//! results, events, positions, in order. One attachment for each partition that is not here.
//! It carries nothing and chooses no server: the server machine does. DESIGN section 7.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use volery_proto::ids::{Ballot, PartitionId, SessionId, Zxid};
use volery_proto::zk::{ErrorCode, Id, Request};

use crate::core::executor::Answer;
use crate::core::types::ConnId;
use crate::core::watch;

/// What the front end says to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// First of all: which incarnation it is.
    Open {
        /// The zxid of its hello.
        incarnation: Zxid,
    },
    /// A read. See `Partition::ask`.
    Read(Box<AskRead>),
    /// The connection has proved more.
    Identities {
        /// Which connection.
        conn: ConnId,
        /// All that it has proved.
        identities: Arc<[Id]>,
    },
    /// The connection is gone: its watches go, and nobody waits for its reads.
    Gone(ConnId),
    /// To be told once the replica is executed through this.
    Want(Zxid),
}

/// A read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskRead {
    /// On whose behalf.
    pub conn: ConnId,
    /// Returned with the answer.
    pub ask: u64,
    /// The connection's session.
    pub session: SessionId,
    /// What it has proved.
    pub identities: Arc<[Id]>,
    /// `skipACL`.
    pub skip_acl: bool,
    /// All up to here is to be seen.
    pub frontier: Zxid,
    /// See `Partition::ask`.
    pub whole: bool,
    /// What.
    pub request: Request,
}

/// What a replica says to the front end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// First of all: the last number of this incarnation's in the partition's ring that was
    /// delivered before. Results of all later ones follow.
    Began(u64),
    /// A command of this incarnation was executed, which changes or might change the tree.
    Executed {
        /// Its place, which names the ring.
        zxid: Zxid,
        /// Its number.
        sequence: u64,
        /// The reply's body, or its error.
        reply: Result<Bytes, ErrorCode>,
    },
    /// A watch fired.
    Event {
        /// The change.
        zxid: Zxid,
        /// For whom, and what.
        event: watch::Event,
        /// Whether the connection has more watches there.
        holds: bool,
    },
    /// A read was run.
    Answer {
        /// On whose behalf.
        conn: ConnId,
        /// Which.
        ask: u64,
        /// What it came to.
        answer: Answer,
    },
    /// How far the replica is. Everything of before has been said.
    Position {
        /// Delivered.
        delivered: Zxid,
        /// Executed.
        executed: Zxid,
        /// Who seems to coordinate the partition's ring.
        leader: Option<Ballot>,
    },
}

/// One attachment, as the front end sees it.
#[derive(Debug, Default)]
struct Attachment {
    up: bool,
    delivered: Zxid,
    executed: Zxid,
    leader: Option<Ballot>,
    /// It is to be told when this is executed.
    wanted: Zxid,
    asks: Vec<Ask>,
}

/// The attachments of a front end, one for each partition that is not on its server.
#[derive(Debug, Default)]
pub struct Attachments {
    of: BTreeMap<PartitionId, Attachment>,
    asked: u64,
}

impl Attachments {
    /// None of them is up.
    pub fn new(partitions: impl Iterator<Item = PartitionId>) -> Attachments {
        let of = partitions.map(|partition| (partition, Attachment::default())).collect();
        Attachments { of, asked: 0 }
    }

    /// The partitions that are not here.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        self.of.keys().copied().collect::<Vec<_>>().into_iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whether a partition is reached.
    #[must_use]
    pub fn is_up(&self, partition: PartitionId) -> bool {
        self.of.get(&partition).is_some_and(|attachment| attachment.up)
    }

    /// A replica begins to answer.
    pub fn begin(&mut self, partition: PartitionId) {
        if let Some(attachment) = self.of.get_mut(&partition) {
            *attachment = Attachment { up: true, ..Attachment::default() };
        }
    }

    /// A replica answers no more: nothing is known of the partition.
    pub fn end(&mut self, partition: PartitionId) {
        if let Some(attachment) = self.of.get_mut(&partition) {
            *attachment = Attachment::default();
        }
    }

    /// A replica says how far it is.
    pub fn position(
        &mut self,
        partition: PartitionId,
        (delivered, executed): (Zxid, Zxid),
        leader: Option<Ballot>,
    ) {
        if let Some(attachment) = self.of.get_mut(&partition) {
            attachment.delivered = delivered;
            attachment.executed = executed;
            attachment.leader = leader;
        }
    }

    /// What is to be said to a replica, in order.
    pub fn take_asks(&mut self, partition: PartitionId) -> Vec<Ask> {
        let attachment = self.of.get_mut(&partition);
        attachment.map(|attachment| std::mem::take(&mut attachment.asks)).unwrap_or_default()
    }

    /// Who seems to coordinate the ring of a partition that is not here.
    #[must_use]
    pub fn leader(&self, partition: PartitionId) -> Option<Ballot> {
        self.of.get(&partition)?.leader
    }

    pub(super) fn executed(&self, partition: PartitionId) -> Zxid {
        self.of.get(&partition).map_or(Zxid::ZERO, |attachment| attachment.executed)
    }

    pub(super) fn delivered(&self, partition: PartitionId) -> Zxid {
        self.of.get(&partition).map_or(Zxid::ZERO, |attachment| attachment.delivered)
    }

    /// How far every one is executed.
    pub(super) fn least(&self) -> Option<Zxid> {
        self.of.values().map(|attachment| attachment.executed).min()
    }

    /// Says something; to nobody where no replica is reached.
    pub(super) fn say(&mut self, partition: PartitionId, ask: Ask) {
        if let Some(attachment) = self.of.get_mut(&partition).filter(|attachment| attachment.up) {
            attachment.asks.push(ask);
        }
    }

    /// Asks for a read; `None`: no replica is reached. The number comes back with the answer.
    pub(super) fn read(&mut self, partition: PartitionId, mut read: AskRead) -> Option<u64> {
        let attachment = self.of.get_mut(&partition).filter(|attachment| attachment.up)?;
        self.asked += 1;
        read.ask = self.asked;
        attachment.asks.push(Ask::Read(Box::new(read)));
        Some(self.asked)
    }

    pub(super) fn want(&mut self, partition: PartitionId, zxid: Zxid) {
        if let Some(attachment) = self.of.get_mut(&partition)
            && attachment.up
            && attachment.wanted < zxid
            && attachment.executed < zxid
        {
            attachment.wanted = zxid;
            attachment.asks.push(Ask::Want(zxid));
        }
    }
}
