//! A history and a ledger put together: requests with their replies, connections with their
//! sessions, commands with their outcomes in the model. It judges only what fits nowhere.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use volery_proto::command::Operation;
use volery_proto::ids::Zxid;
use volery_proto::jute::{Jute, Reader};
use volery_proto::zk::{ErrorCode, MultiResult, ReplyHeader, Request, Stat};

use crate::history::{Entry, What};
use crate::model::{Model, Outcome};
use crate::world::World;

/// A reply as it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) header: ReplyHeader,
    pub(crate) body: Bytes,
    pub(crate) upper: Zxid,
}

/// A request and what became of it.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "fields that only a failure's story shows")]
pub(crate) struct Op {
    pub(crate) session: i64,
    pub(crate) request: Request,
    pub(crate) answer: Option<Answer>,
    /// Headers may say less than what they answer (`Story::told_is_held`).
    pub(crate) told_is_held: bool,
}

impl Op {
    /// The operation that a ring orders for it, if one does.
    pub(crate) fn ordered(&self) -> Option<Operation> {
        match &self.request {
            // Refused before it was numbered.
            _ if self.is_refused() => None,
            Request::Sync(r) => Some(Operation::Sync(r.path.clone())),
            Request::CloseSession => Some(Operation::CloseSession),
            request if request.is_write() => Some(Operation::Write(request.clone())),
            _ => None,
        }
    }

    /// Whether a partition that it needs was stale.
    pub(crate) fn is_refused(&self) -> bool {
        let code = ErrorCode::OperationTimeout.code();
        self.answer.as_ref().is_some_and(|answer| answer.header.err == code)
    }

    /// The zxid that its reply shows. While the told position is held its header shows less: what
    /// has changed data shows its zxid in the body, and a barrier's is not known.
    pub(crate) fn zxid(&self) -> Option<Zxid> {
        let answer = self.answer.as_ref()?;
        let mut r = Reader::new(answer.body.clone());
        let stat = match &self.request {
            Request::Sync(_) if self.told_is_held => return None,
            Request::SetData(_) if answer.header.err == 0 => Stat::read(&mut r).ok(),
            Request::Multi(_) => {
                let results = MultiResult::read_all(&mut r).unwrap_or_default();
                results.into_iter().find_map(|result| match result {
                    MultiResult::SetData(stat) => Some(stat),
                    _ => None,
                })
            }
            _ => None,
        };
        Some(Zxid(stat.map_or(answer.header.zxid, |stat| stat.mzxid) as u64))
    }
}

/// All of it.
pub(crate) struct Story<'a> {
    pub(crate) entries: &'a [Entry],
    pub(crate) model: Model,
    pub(crate) outcomes: BTreeMap<Zxid, Outcome>,
    pub(crate) ops: Vec<Op>,
    /// By place in the history: the request that was sent or answered there.
    pub(crate) op_at: BTreeMap<usize, usize>,
    pub(crate) sessions: BTreeMap<u64, i64>,
    /// A partition was dead: replies may say less than they show.
    pub(crate) told_is_held: bool,
}

impl<'a> Story<'a> {
    pub(crate) fn tell(world: &'a World) -> Result<Story<'a>, String> {
        let mut model = Model::new(world.profile.map.clone());
        let mut outcomes = BTreeMap::new();
        for (zxid, decided) in &world.ledger.commands {
            let outcome = model.execute(*zxid, &decided.command, decided.time_ms);
            outcomes.insert(*zxid, outcome);
        }
        let entries = &world.history.entries[..];
        let mut story = Story {
            entries,
            model,
            outcomes,
            ops: Vec::new(),
            op_at: BTreeMap::new(),
            sessions: BTreeMap::new(),
            told_is_held: world.profile.mute.is_some(),
        };
        story.pair()?;
        Ok(story)
    }

    fn pair(&mut self) -> Result<(), String> {
        let mut waiting: BTreeMap<u64, VecDeque<usize>> = BTreeMap::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let conn = entry.conn;
            match &entry.what {
                What::Connected(response) if response.timeout_ms != 0 => {
                    self.sessions.insert(conn, response.session);
                }
                What::Sent(request) => {
                    let session = self.sessions.get(&conn).copied().unwrap_or_default();
                    self.op_at.insert(at, self.ops.len());
                    waiting.entry(conn).or_default().push_back(self.ops.len());
                    let (request, answer) = (request.clone(), None);
                    let told_is_held = self.told_is_held;
                    self.ops.push(Op { session, request, answer, told_is_held });
                }
                What::Reply { header, body, upper } => {
                    let op = waiting.get_mut(&conn).and_then(VecDeque::pop_front);
                    let op = op.ok_or("a reply without a request")?;
                    self.op_at.insert(at, op);
                    let (header, body, upper) = (header.clone(), body.clone(), *upper);
                    self.ops[op].answer = Some(Answer { header, body, upper });
                }
                _ => {}
            }
        }
        Ok(())
    }
}
