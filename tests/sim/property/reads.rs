//! Which states of the model a read can have seen. It remembers nothing between reads.
//! Used by the properties of sessions and of watches.

use volery_proto::ids::Zxid;
use volery_proto::jute::Reader;
use volery_proto::zk::{MultiResult, Request};

use super::shown::{Shown, as_request, path_of};
use super::story::{Answer, Op};
use crate::model::{Span, Timeline};

/// The states between `low` and `high` that a read of one path can have seen; `None`: no such
/// read.
pub(crate) fn matching(
    timeline: &Timeline,
    request: &Request,
    answer: &Answer,
    low: Zxid,
) -> Option<Vec<Span>> {
    let path = path_of(request)?;
    let shown = Shown::of_reply(request, answer.header.err, &answer.body)?;
    Some(seen(timeline, request, path, &shown, low, answer.upper))
}

fn seen(
    timeline: &Timeline,
    request: &Request,
    path: &str,
    shown: &Shown,
    low: Zxid,
    high: Zxid,
) -> Vec<Span> {
    let mut spans = timeline.spans(path, low, high);
    spans.retain(|span| Shown::of_model(request, span.node.as_deref()) == *shown);
    spans
}

/// The least zxid at which all that a read shows was so, not below `low`; the error says what
/// never was.
pub(crate) fn observed(timeline: &Timeline, op: &Op, low: Zxid) -> Result<Zxid, String> {
    let Some(answer) = &op.answer else { return Ok(low) };
    let nowhere = |path: &str| {
        let states = timeline.spans(path, low, answer.upper);
        format!("{op:?}\n  shows what never was between {low} and {}:\n  {states:?}", answer.upper)
    };
    if let Some(spans) = matching(timeline, &op.request, answer, low) {
        let path = path_of(&op.request).unwrap_or_default();
        return spans.first().map(|s| low.max(s.since)).ok_or_else(|| nowhere(path));
    }
    match &op.request {
        Request::MultiRead(ops) if answer.header.err == 0 => {
            let mut r = Reader::new(answer.body.clone());
            let results = MultiResult::read_all(&mut r).map_err(|e| e.to_string())?;
            if results.len() != ops.len() {
                return Err(format!("{op:?} has {} results", results.len()));
            }
            let mut low = low;
            for (read, result) in ops.iter().zip(results) {
                let Some(shown) = Shown::of_result(result) else { continue };
                let request = as_request(read);
                let path = path_of(&request).unwrap_or_default();
                let spans = seen(timeline, &request, path, &shown, low, answer.upper);
                let Some(span) = spans.first() else { return Err(nowhere(path)) };
                low = low.max(span.since);
            }
            Ok(low)
        }
        Request::GetEphemerals(_) if answer.header.err == 0 => ephemerals(timeline, op, low),
        _ => Ok(low),
    }
}

/// Each path that is listed was the session's somewhere in between, each other one was not.
fn ephemerals(timeline: &Timeline, op: &Op, low: Zxid) -> Result<Zxid, String> {
    let Some(answer) = &op.answer else { return Ok(low) };
    let mut r = Reader::new(answer.body.clone());
    let listed: Vec<bytestring::ByteString> =
        volery_proto::jute::Jute::read(&mut r).map_err(|e| format!("{e}"))?;
    for path in timeline.paths() {
        let is_listed = listed.iter().any(|l| l == path.as_str());
        let spans = timeline.spans(path, low, answer.upper);
        let own = |s: &Span| s.node.as_ref().is_some_and(|n| n.owner == op.session);
        if !spans.iter().any(|span| own(span) == is_listed) {
            return Err(format!("{op:?}\n  lists {listed:?}; {path} was {spans:?}"));
        }
    }
    Ok(low)
}
