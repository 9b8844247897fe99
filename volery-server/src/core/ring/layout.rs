//! Who is in the ring, and the live path that Phase 2 takes through it. DESIGN section 3.
//! Acceptors keep no membership state: the coordinator chooses the path, messages carry it.
//! Called by the state machine of the same ring.

use std::collections::BTreeSet;
use std::sync::Arc;

use volery_proto::ids::ServerId;

use super::effect::RingConfig;

/// The configured ring, as seen from one server.
#[derive(Debug)]
pub(super) struct Layout {
    me: ServerId,
    members: Vec<ServerId>,
    observers: Vec<ServerId>,
    /// This server's place among the members; `None`: an observer.
    mine: Option<usize>,
    quorum: u32,
    preferred: usize,
}

impl Layout {
    pub(super) fn new(config: &RingConfig) -> Layout {
        let members = config.members.clone();
        let mine = members.iter().position(|&member| member == config.me);
        // A majority of the configured acceptors, never of the live path.
        let quorum = u32::try_from(members.len() / 2 + 1).unwrap_or(u32::MAX);
        let observers = config.observers.iter().filter(|o| !members.contains(o)).copied().collect();
        let preferred = usize::from(config.ring.0) % members.len().max(1);
        Layout { me: config.me, members, observers, mine, quorum, preferred }
    }

    /// A ring of one acceptor, which is this server.
    pub(super) fn alone(&self) -> bool {
        self.members.len() == 1 && self.mine.is_some()
    }

    /// Whether this server is an acceptor of the ring.
    pub(super) fn is_member(&self) -> bool {
        self.mine.is_some()
    }

    /// The other acceptors.
    pub(super) fn others(&self) -> impl Iterator<Item = ServerId> + use<> {
        let me = self.me;
        self.members.clone().into_iter().filter(move |&member| member != me)
    }

    /// Everybody else who learns from this ring.
    pub(super) fn audience(&self) -> impl Iterator<Item = ServerId> + use<> {
        let me = self.me;
        self.others().chain(self.observers.clone()).filter(move |&server| server != me)
    }

    /// The votes as bits, one per member; a server that is not a member has none.
    pub(super) fn bit(&self, server: ServerId) -> u64 {
        self.members.iter().position(|&m| m == server).map_or(0, |index| 1 << index)
    }

    /// The bit of this server; 0 for an observer.
    pub(super) fn my_bit(&self) -> u64 {
        self.mine.map_or(0, |index| 1 << index)
    }

    /// Votes as bits.
    pub(super) fn bits(&self, servers: &[ServerId]) -> u64 {
        servers.iter().fold(0, |bits, &server| bits | self.bit(server))
    }

    /// Bits as votes.
    pub(super) fn servers(&self, bits: u64) -> Vec<ServerId> {
        let members = self.members.iter().enumerate();
        members.filter(|(index, _)| bits & (1 << index) != 0).map(|(_, &server)| server).collect()
    }

    /// Whether these bits are a majority.
    pub(super) fn is_quorum(&self, votes: u64) -> bool {
        votes.count_ones() >= self.quorum
    }

    /// Whether so many of the *other* members are a majority of them.
    pub(super) fn is_majority_of_others(&self, count: usize) -> bool {
        count > (self.members.len() - 1) / 2
    }

    /// The acceptor after this one on a path; the first comes after the last.
    pub(super) fn next_voter(&self, path: &[ServerId]) -> Option<ServerId> {
        let index = path.iter().position(|&server| server == self.me)?;
        let after = path[index + 1..].iter().chain(&path[..index]);
        after.copied().find(|&server| self.bit(server) != 0)
    }

    /// Who leads this ring if all is well.
    pub(super) fn preferred(&self) -> Option<ServerId> {
        self.members.get(self.preferred).copied()
    }

    /// How far this member is from being the preferred coordinator, suspects left out: who
    /// succeeds a failed coordinator is ranked.
    pub(super) fn rank(&self, suspects: &BTreeSet<ServerId>) -> u64 {
        let n = self.members.len();
        let in_order = (0..n).map(|step| self.members[(self.preferred + step) % n]);
        let healthy = in_order.filter(|member| !suspects.contains(member) || *member == self.me);
        healthy.take_while(|&member| member != self.me).count() as u64
    }

    /// The live ring: this server first, then the members in ring order, then the observers. It
    /// never shrinks below a majority: then all are asked, whoever may be back.
    pub(super) fn path(&self, out: &BTreeSet<ServerId>) -> Arc<[ServerId]> {
        let from = self.mine.map_or(0, |index| index + 1);
        let n = self.members.len();
        let ring = |out: &BTreeSet<ServerId>| -> Vec<ServerId> {
            let in_order = (0..n).map(|step| self.members[(from + step) % n]);
            let live = in_order.filter(|&m| m != self.me && !out.contains(&m));
            std::iter::once(self.me).chain(live).collect()
        };
        let mut path = ring(out);
        if path.len() <= n / 2 {
            path = ring(&BTreeSet::new());
        }
        path.extend(self.observers.iter().filter(|o| **o != self.me && !out.contains(o)));
        path.into()
    }
}

/// Who comes after `me` on a path; `None` for the last one, and for who is not on it.
pub(super) fn next_on(path: &[ServerId], me: ServerId) -> Option<ServerId> {
    let index = path.iter().position(|&server| server == me)?;
    path.get(index + 1).copied()
}
