//! The first two checks of almost every read: is the znode there, and may it be read.
//! Never says more than the code: an absent znode also has something that was observed.
//! Called by the reads of this room.

use volery_proto::ids::Zxid;
use volery_proto::zk::{Acl, ErrorCode};

use super::{ReadContext, ReadNode, ReadView};
use crate::core::auth;
use crate::core::mutation::mutated;

impl ReadContext<'_> {
    pub(super) fn permits(&self, acl: &[Acl], needed: i32) -> bool {
        self.skip_acl || auth::permits(acl, needed, self.identities)
    }

    /// Where a znode is not there, it was its parent that said so, if that is here to be asked.
    pub(super) fn absence<V: ReadView>(&self, path: &str, view: &V) -> Zxid {
        if mutated!(AbsenceUnobserved) {
            return Zxid::ZERO;
        }
        view.parent_pzxid(path).unwrap_or(self.last_write)
    }
}

/// The znode, or the error and what was observed by it.
pub(super) fn find<'a, V: ReadView>(
    path: &str,
    needed: i32,
    view: &'a V,
    context: &ReadContext<'_>,
) -> Result<V::Node<'a>, (ErrorCode, Zxid)> {
    let Some(node) = view.get(path) else {
        return Err((ErrorCode::NoNode, context.absence(path, view)));
    };
    if context.permits(node.acl(), needed) {
        Ok(node)
    } else {
        Err((ErrorCode::NoAuth, context.last_write))
    }
}
