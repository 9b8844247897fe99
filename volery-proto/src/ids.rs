//! Newtypes for everything that is counted, so that no two counters are ever confused.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(
    /// A server of the cluster (ZooKeeper's `myid`), 1..=255.
    ServerId(u8)
);
id!(
    /// A ring: 0 is the global ring, ring *p* belongs to partition *p*. Below [`RingId::COUNT`].
    RingId(u16)
);
id!(
    /// A partition of the tree, from 1. Its ring has the same number.
    PartitionId(u16)
);
id!(
    /// A Paxos instance of one ring, dense, from 0.
    Instance(u64)
);
id!(
    /// A virtual position of a ring, about one a microsecond since 2024-01-01T00:00:00Z.
    Slot(u64)
);

impl RingId {
    /// The ring that orders multi-partition commands, sessions and front ends.
    pub const GLOBAL: RingId = RingId(0);
    /// How many rings a zxid can name.
    pub const COUNT: u16 = 1 << Zxid::RING_BITS;
}

impl PartitionId {
    /// The ring that orders this partition's own commands.
    #[must_use]
    pub fn ring(self) -> RingId {
        RingId(self.0)
    }
}

impl Slot {
    /// Unix time of slot 0, in microseconds: 2024-01-01T00:00:00Z.
    pub const EPOCH_UNIX_US: u64 = 1_704_067_200_000_000;
    /// The last slot whose zxids are positive as the signed longs that clients read.
    pub const MAX: Slot = Slot((1 << (63 - Zxid::RING_BITS)) - 1);

    /// The slot of a Unix time in microseconds.
    #[must_use]
    pub fn from_unix_us(us: u64) -> Slot {
        Slot(us.saturating_sub(Self::EPOCH_UNIX_US))
    }
}

/// `slot << 10 | ring`: unique over the whole service, and its total order. 63-bit positive, as
/// clients read it as a signed long. It also serves as a *position*: all up to it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Low bits that hold the ring.
    pub const RING_BITS: u32 = 10;
    /// Before everything.
    pub const ZERO: Zxid = Zxid(0);

    /// The zxid of the command that takes `slot` on `ring`.
    #[must_use]
    pub fn new(slot: Slot, ring: RingId) -> Zxid {
        Zxid((slot.0 << Self::RING_BITS) | u64::from(ring.0))
    }

    /// The position at which every ring is known through `slot`.
    #[must_use]
    pub fn through(slot: Slot) -> Zxid {
        Zxid((slot.0 << Self::RING_BITS) | u64::from(RingId::COUNT - 1))
    }

    /// Its slot.
    #[must_use]
    pub fn slot(self) -> Slot {
        Slot(self.0 >> Self::RING_BITS)
    }

    /// Its ring.
    #[must_use]
    pub fn ring(self) -> RingId {
        RingId((self.0 & u64::from(RingId::COUNT - 1)) as u16)
    }

    /// As the signed long of ZooKeeper's protocol.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        self.0 as i64
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A client session. 0 means none; negative values are legal (server ids above 127).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A ballot of Paxos: (round, server), ordered in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Raised by every new coordinator.
    pub round: u32,
    /// Who coordinates it; makes ballots of one round differ.
    pub server: ServerId,
}

impl Ballot {
    /// As one integer that keeps the order.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        (u64::from(self.round) << 8) | u64::from(self.server.0)
    }

    /// The inverse of [`Ballot::to_u64`]; `None` where the round does not fit.
    #[must_use]
    pub fn from_u64(raw: u64) -> Option<Ballot> {
        let round = u32::try_from(raw >> 8).ok()?;
        Some(Ballot { round, server: ServerId((raw & 0xff) as u8) })
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.server)
    }
}
