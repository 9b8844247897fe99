//! The skip policy: how far idle rings are asked to pass so that nobody waits for them.
//! Decides slots only; rings propose the skips. Called by the server after each batch.

use volery_proto::ids::{ServerId, Slot};

use crate::core::mutation::mutated;

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
    rings: Vec<Demand>,
}

/// Of one ring.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    /// Somebody waits for it to pass this.
    needed: Slot,
    /// If it is led here it goes along with the others as far as this.
    along: Slot,
    /// Its coordinator elsewhere was asked for this.
    asked: Option<(ServerId, Slot)>,
    /// When to ask again.
    again_us: u64,
    /// Since when replicas are held up by it, monotonic microseconds; and when that counts.
    held_up: Option<u64>,
}

impl Demands {
    /// No demand yet, for ring 0 and `partitions` more.
    #[must_use]
    pub fn new(policy: SkipPolicy, partitions: u16) -> Demands {
        Demands { policy, rings: vec![Demand::default(); usize::from(partitions) + 1] }
    }

    /// A waiting learner or reader needs `ring` to pass `slot`.
    pub fn wait_for(&mut self, ring: usize, slot: Slot) {
        let needed = &mut self.rings[ring].needed;
        *needed = slot.max(*needed);
    }

    /// Replicas are held up by `ring` until it passes `slot` (0: they are not). Whoever proposed
    /// the command has asked for it already: it counts after some patience.
    pub fn held_up(&mut self, ring: usize, slot: Slot, now_us: u64, patience_us: u64) {
        let demand = &mut self.rings[ring];
        if slot <= demand.needed {
            demand.held_up = None;
            return;
        }
        let due_us = *demand.held_up.get_or_insert(now_us + patience_us);
        if now_us >= due_us || patience_us == 0 {
            demand.held_up = None;
            demand.needed = slot;
        }
    }

    /// `ring` proposed commands through `slot`: their learners need the other rings to follow.
    pub fn proposed(&mut self, ring: usize, slot: Slot) {
        if self.policy.together {
            for demand in &mut self.rings {
                demand.along = slot.max(demand.along);
            }
        }
        if ring > 0 {
            return self.wait_for(0, slot);
        }
        for wanted in 0..self.rings.len() {
            self.wait_for(wanted, slot);
        }
    }

    /// Somebody elsewhere is to pass this, if anything was demanded since the last call.
    pub fn take(&mut self, ring: usize) -> Option<Slot> {
        let slot = std::mem::take(&mut self.rings[ring].needed);
        (slot > Slot(0)).then_some(slot)
    }

    /// The slot that a ring which is led here is to pass.
    #[must_use]
    pub fn demanded(&self, ring: usize) -> Slot {
        self.rings[ring].needed.max(self.rings[ring].along)
    }

    /// What a coordinator elsewhere is to be asked for now, if anything: `to` leads, as far as is
    /// known, and the ring is decided through `position`. It is asked again at `again_us`.
    pub fn ask(
        &mut self,
        ring: usize,
        (to, position): (Option<ServerId>, Slot),
        now_us: u64,
        again_us: u64,
    ) -> Option<Slot> {
        let demand = &mut self.rings[ring];
        let slot = demand.needed;
        let Some(to) = to.filter(|_| slot > position) else {
            demand.asked = None;
            return None;
        };
        let asked = Some((to, slot));
        if demand.asked == asked && now_us < demand.again_us {
            return None;
        }
        demand.asked = asked;
        demand.again_us = again_us;
        Some(slot)
    }

    /// When coordinators elsewhere are to be asked without anything happening here.
    #[must_use]
    pub fn next_deadline_us(&self) -> Option<u64> {
        let again = self.rings.iter().filter(|demand| demand.asked.is_some());
        let held_up = self.rings.iter().filter_map(|demand| demand.held_up);
        again.map(|demand| demand.again_us).chain(held_up).min()
    }

    /// The slot to pass once `ring` skips at all, given the clock. Ring 0 may reserve ahead from
    /// the clock only, never from slots seen: rings must not pull each other (ATTACKS row 21).
    #[must_use]
    pub fn target(&self, ring: usize, clock: Slot) -> Slot {
        let demanded = self.demanded(ring);
        let ahead = if ring == 0 { self.policy.global_ahead } else { 0 };
        if ahead == 0 {
            return demanded;
        }
        let from = if mutated!(ReservesFromSlots) { demanded.max(clock) } else { clock };
        demanded.max(Slot(from.0 + ahead))
    }
}
