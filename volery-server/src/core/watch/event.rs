//! A watch event, and its place among the events of one zxid.
//! Says nothing of when it may be sent.
//! Called by the table to build it, by the front end to order and send it.

use bytestring::ByteString;
use volery_proto::zk::WatcherEvent;

use crate::core::types::ConnId;

/// What happened to a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum EventType {
    /// It came.
    NodeCreated = 1,
    /// It went.
    NodeDeleted = 2,
    /// setData.
    NodeDataChanged = 3,
    /// A child of it came or went.
    NodeChildrenChanged = 4,
}

impl EventType {
    /// The type with this number; `None`: there is none.
    #[must_use]
    pub fn from_number(number: i32) -> Option<EventType> {
        let all = [
            EventType::NodeCreated,
            EventType::NodeDeleted,
            EventType::NodeDataChanged,
            EventType::NodeChildrenChanged,
        ];
        all.into_iter().find(|event| *event as i32 == number)
    }

    /// The event's body on the wire: the server always says that the client is connected.
    #[must_use]
    pub fn to_wire(self, path: &ByteString) -> WatcherEvent {
        const SYNC_CONNECTED: i32 = 3;
        WatcherEvent { event_type: self as i32, state: SYNC_CONNECTED, path: path.clone() }
    }
}

/// Place of an event among those of its zxid, whichever partitions they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Index of the operation in its multi; 0 outside of one.
    pub operation: u32,
    /// 0: the znode, its data watches; 1: its child watches; 2: the parent's children.
    pub step: u8,
}

/// An event for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// To whom.
    pub conn: ConnId,
    /// What happened.
    pub kind: EventType,
    /// To which znode.
    pub path: ByteString,
    /// Its place among the events of its zxid.
    pub rank: Rank,
}
