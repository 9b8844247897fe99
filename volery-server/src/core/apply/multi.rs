//! multi: several writes at one zxid and one time, all or nothing.
//! Never fails as a whole: what failed is said in the results (ZOOKEEPER.md 1.8).
//! Called by `execute`.

use volery_proto::zk::{ErrorCode, MultiOp, MultiResult};

use super::op::WriteOp;
use super::overlay::Overlay;
use super::{Outcome, View, WriteContext, WriteReply};

pub(super) fn execute<V: View + ?Sized>(
    ops: &[MultiOp],
    view: &V,
    context: &WriteContext<'_>,
) -> Outcome {
    let mut overlay = Overlay::new(view, context.moment);
    let mut results = Vec::with_capacity(ops.len());
    let mut changes = Vec::with_capacity(ops.len());
    for (index, op) in (0u32..).zip(ops) {
        match WriteOp::of_multi(op).execute(&overlay, context) {
            Ok(done) => {
                results.push(done.reply.into_multi_result());
                if let Some(change) = done.change {
                    overlay.apply(&change);
                    changes.push((index, change));
                }
            }
            Err(code) => return failed(ops.len(), results.len(), code),
        }
    }
    Outcome { reply: Ok(WriteReply::Multi(results)), changes }
}

/// Every operation gets an error result: those before the failed one 0, those behind it -2.
pub(super) fn failed(count: usize, at: usize, code: ErrorCode) -> Outcome {
    let results = (0..count)
        .map(|index| match index.cmp(&at) {
            std::cmp::Ordering::Less => ErrorCode::Ok,
            std::cmp::Ordering::Equal => code,
            std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency,
        })
        .map(MultiResult::Error)
        .collect();
    Outcome { reply: Ok(WriteReply::Multi(results)), changes: Vec::new() }
}
