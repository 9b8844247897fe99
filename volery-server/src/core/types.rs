//! The words that the inner rooms share: what a znode looks like to a command, what a command
//! changes, and the events that follow. Holds no state and decides nothing.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::ids::{Slot, Zxid};
use volery_proto::zk::{Acl, Stat};

/// A client connection of this server; never reused while the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// ZooKeeper's mark of a container in the raw owner.
pub const CONTAINER_OWNER: i64 = i64::MIN;
/// ZooKeeper's mark of a TTL znode: the high byte; the low 40 bits are the TTL in milliseconds.
pub const TTL_OWNER_MARK: i64 = 0xff << 56;
/// The longest TTL, in milliseconds.
pub const TTL_MAX_MS: i64 = (1 << 40) - 1;

/// What stands in a znode's raw ephemeral owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A persistent znode.
    None,
    /// An ephemeral of this session.
    Session(i64),
    /// A container.
    Container,
    /// Time to live, in milliseconds.
    Ttl(i64),
}

impl Owner {
    /// Reads the raw value.
    #[must_use]
    pub fn from_raw(raw: i64) -> Owner {
        match raw {
            0 => Owner::None,
            CONTAINER_OWNER => Owner::Container,
            ttl if ttl & TTL_OWNER_MARK == TTL_OWNER_MARK => Owner::Ttl(ttl & TTL_MAX_MS),
            session => Owner::Session(session),
        }
    }

    /// As it is stored.
    #[must_use]
    pub fn to_raw(self) -> i64 {
        match self {
            Owner::None => 0,
            Owner::Session(session) => session,
            Owner::Container => CONTAINER_OWNER,
            Owner::Ttl(ms) => TTL_OWNER_MARK | ms,
        }
    }
}

/// All of a znode but its data and children's names: what the checks of a write read, and what a
/// partition contributes to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Zxid of its create.
    pub czxid: Zxid,
    /// Zxid of its last setData (or create).
    pub mzxid: Zxid,
    /// Zxid of the last change of its children (or its create).
    pub pzxid: Zxid,
    /// Time of its create, Unix milliseconds.
    pub ctime_ms: i64,
    /// Time of its last setData.
    pub mtime_ms: i64,
    /// Number of setData.
    pub version: i32,
    /// Raw: number of creates of children, ever. The sequence suffix uses it.
    pub cversion: i32,
    /// Number of setACL.
    pub aversion: i32,
    /// Raw owner, see [`Owner`].
    pub owner: i64,
    /// Length of the data; 0 for null.
    pub data_length: i32,
    /// Children, those at a border included.
    pub num_children: i32,
    /// Its ACL.
    pub acl: Arc<[Acl]>,
}

impl NodeInfo {
    /// The Stat on the wire: cversion is 2 * raw - children; only sessions show as owners.
    #[must_use]
    pub fn stat(&self) -> Stat {
        Stat {
            czxid: self.czxid.as_i64(),
            mzxid: self.mzxid.as_i64(),
            ctime: self.ctime_ms,
            mtime: self.mtime_ms,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(self.num_children),
            aversion: self.aversion,
            ephemeral_owner: match Owner::from_raw(self.owner) {
                Owner::Session(session) => session,
                _ => 0,
            },
            data_length: self.data_length,
            num_children: self.num_children,
            pzxid: self.pzxid.as_i64(),
        }
    }
}

/// One change of the tree, decided by the checks of a command. The partition that owns `path`
/// changes the znode; the one that owns its parent changes the parent's child list, raw cversion
/// (create) and pzxid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new znode.
    Create {
        /// Its full path, sequence number included.
        path: ByteString,
        /// Null and empty differ.
        data: Option<Bytes>,
        /// Expanded.
        acl: Arc<[Acl]>,
        /// Raw owner.
        owner: i64,
    },
    /// A znode goes.
    Delete {
        /// Its full path.
        path: ByteString,
    },
    /// New data.
    SetData {
        /// Its full path.
        path: ByteString,
        /// Null and empty differ.
        data: Option<Bytes>,
    },
    /// New ACL.
    SetAcl {
        /// Its full path.
        path: ByteString,
        /// Expanded.
        acl: Arc<[Acl]>,
    },
}

impl Change {
    /// The znode that changes.
    #[must_use]
    pub fn path(&self) -> &ByteString {
        match self {
            Change::Create { path, .. }
            | Change::Delete { path }
            | Change::SetData { path, .. }
            | Change::SetAcl { path, .. } => path,
        }
    }
}

/// Which halves of a change a partition owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The znode itself.
    pub node: bool,
    /// Its entry in the parent's child list.
    pub entry: bool,
}

impl Part {
    /// Both halves: no border.
    pub const WHOLE: Part = Part { node: true, entry: true };
}

/// Where and when a command executes: the same for all its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The command's zxid.
    pub zxid: Zxid,
    /// max(the value's time, the partitions' last time), Unix milliseconds.
    pub time_ms: i64,
}

/// The time, handed in with every input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, Unix microseconds: it may jump.
    pub unix_us: u64,
    /// Since some start, microseconds: it never goes back.
    pub monotonic_us: u64,
}

impl Now {
    /// The wall clock as a slot.
    #[must_use]
    pub fn slot(self) -> Slot {
        Slot::from_unix_us(self.unix_us)
    }

    /// The wall clock in milliseconds.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        (self.unix_us / 1000) as i64
    }

    /// The monotonic clock in milliseconds.
    #[must_use]
    pub fn monotonic_ms(self) -> u64 {
        self.monotonic_us / 1000
    }
}
