//! Who is in the ring, and the live path that Phase 2 takes through it. DESIGN section 3.
//! Acceptors keep no membership state: the coordinator chooses the path, messages carry it.
//! Called by the state machine of the same ring.

use volery_proto::ids::ServerId;

use super::effect::RingConfig;

/// The configured ring, as seen from one member.
#[derive(Debug)]
pub(super) struct Layout {
    members: Vec<ServerId>,
    /// This server's place among the members; `None`: an observer.
    mine: Option<usize>,
    quorum: u32,
}

impl Layout {
    pub(super) fn new(config: &RingConfig) -> Layout {
        let members = config.members.clone();
        let mine = members.iter().position(|&member| member == config.me);
        // A majority of the configured acceptors, never of the live path.
        let quorum = u32::try_from(members.len() / 2 + 1).unwrap_or(u32::MAX);
        Layout { members, mine, quorum }
    }

    /// A ring of one acceptor, which is this server.
    pub(super) fn alone(&self) -> bool {
        self.members.len() == 1 && self.mine.is_some()
    }

    /// The votes as bits, one per member; a server that is not a member has none.
    pub(super) fn bit(&self, server: ServerId) -> u64 {
        self.members.iter().position(|&m| m == server).map_or(0, |index| 1 << index)
    }

    /// The bit of this server; 0 for an observer.
    pub(super) fn my_bit(&self) -> u64 {
        self.mine.map_or(0, |index| 1 << index)
    }

    /// Whether these bits are a majority.
    pub(super) fn is_quorum(&self, votes: u64) -> bool {
        votes.count_ones() >= self.quorum
    }
}
