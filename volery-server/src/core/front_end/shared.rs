//! The front end of one server among several: sessions are counted by ring 0's coordinator for all
//! of them, and clients are sent away where it cannot be told of them. It sends nothing itself.
//! Called by the server machine. DESIGN section 7, ATTACKS row 25.

use std::collections::BTreeSet;

use volery_proto::ids::SessionId;

use super::{CloseReason, FrontEnd};
use crate::core::types::Now;

/// What a front end knows of who counts.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Heard since the last time that anybody was told.
    pub(super) touched: BTreeSet<SessionId>,
    /// This server counts for all.
    leads: bool,
    /// It has only begun to.
    fresh: bool,
}

impl FrontEnd {
    /// There are other servers: only ring 0's coordinator counts sessions, and it may be told so
    /// many milliseconds late.
    pub fn share_sessions(&mut self, late_ms: u64) {
        self.expiry.allow(late_ms);
        self.shared = Some(Shared::default());
    }

    /// This server begins to count sessions for all, or leaves it to another.
    pub fn lead_sessions(&mut self, leads: bool) {
        if let Some(shared) = &mut self.shared {
            (shared.leads, shared.fresh) = (leads, leads);
        }
    }

    /// Whether this server names the sessions that expire.
    pub(super) fn leads_sessions(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.leads)
    }

    /// The same; who has only begun gives every session a full fresh time-out first.
    pub(super) fn counts_sessions(&mut self, now: Now) -> bool {
        if let Some(shared) = &mut self.shared
            && std::mem::take(&mut shared.fresh)
        {
            self.expiry.refresh(now.monotonic_ms());
        }
        self.leads_sessions()
    }

    /// The sessions that were heard here since the last call.
    pub fn take_touched(&mut self) -> BTreeSet<SessionId> {
        self.shared.as_mut().map(|shared| std::mem::take(&mut shared.touched)).unwrap_or_default()
    }

    /// These sessions were heard, somewhere.
    pub fn touch_sessions(&mut self, sessions: impl IntoIterator<Item = SessionId>, now: Now) {
        for session in sessions {
            self.expiry.touch(session, now.monotonic_ms());
        }
    }

    /// Whether clients are sent away: nobody counts that they are heard.
    pub fn cut_off(&mut self, lost: bool) {
        if lost && !std::mem::replace(&mut self.cut_off, true) {
            self.close_all(CloseReason::CutOff);
        }
        self.cut_off = lost;
    }
}
