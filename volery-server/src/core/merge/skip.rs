//! The skip policy: how far idle rings are asked to pass so that nobody waits for them.
//! Decides slots only; rings propose the skips. Called by the server after each batch.

use volery_proto::ids::Slot;

/// Choices of the policy. DESIGN section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipPolicy {
    /// All rings that this server coordinates pass what any of them proposes, in the same group
    /// commit: a session that goes from one partition to another then never waits. Without it
    /// only the rings that a command's learners merge are asked.
    pub together: bool,
    /// How far ahead of the clock ring 0 reserves when it skips, in slots (microseconds).
    pub global_ahead: u64,
}

impl Default for SkipPolicy {
    fn default() -> SkipPolicy {
        SkipPolicy { together: true, global_ahead: 0 }
    }
}

/// What the rings are asked to pass. Only commands and waiting readers demand; skips never do,
/// so no skip can cause another.
#[derive(Clone, Debug)]
pub struct Demands {
    policy: SkipPolicy,
    /// Indexed by ring.
    slots: Vec<Slot>,
}

impl Demands {
    /// No demand yet, for ring 0 and `partitions` more.
    #[must_use]
    pub fn new(policy: SkipPolicy, partitions: u16) -> Demands {
        Demands { policy, slots: vec![Slot(0); usize::from(partitions) + 1] }
    }

    /// A waiting learner or reader needs `ring` to pass `slot`.
    pub fn wait_for(&mut self, ring: usize, slot: Slot) {
        self.slots[ring] = self.slots[ring].max(slot);
    }

    /// `ring` proposed commands through `slot`: their learners need the other rings to follow.
    pub fn proposed(&mut self, ring: usize, slot: Slot) {
        if ring == 0 || self.policy.together {
            for wanted in &mut self.slots {
                *wanted = (*wanted).max(slot);
            }
        } else {
            self.wait_for(0, slot);
        }
    }

    /// The slot that somebody waits for `ring` to pass.
    #[must_use]
    pub fn demanded(&self, ring: usize) -> Slot {
        self.slots[ring]
    }

    /// The slot to pass once `ring` skips at all, given the clock. Ring 0 may reserve ahead from
    /// the clock only, never from slots seen: rings must not pull each other (ATTACKS row 21).
    #[must_use]
    pub fn target(&self, ring: usize, clock: Slot) -> Slot {
        let ahead = if ring == 0 { self.policy.global_ahead } else { 0 };
        if ahead == 0 { self.slots[ring] } else { self.slots[ring].max(Slot(clock.0 + ahead)) }
    }
}
