//! One command executes: sessions, barriers and writes; changes go into the tree, events out.
//! It never waits: contributions are at hand when it is called. Called by the replica.

use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::Operation;
#[cfg(feature = "mutants")]
use volery_proto::ids::Zxid;
use volery_proto::ids::{PartitionId, SessionId};
use volery_proto::jute::Writer;
use volery_proto::zk::{ErrorCode, Request};

use super::exchange::Contributions;
#[cfg(feature = "mutants")]
use super::set_aside::Work;
use super::views::ChangeAcls;
use super::{CommandOutcome, ExecutorError, Output, Partition};
use crate::core::apply::{self, ContributedView, Outcome, WriteContext, WriteReply};
use crate::core::merge::Delivery;
use crate::core::mutation::mutated;
use crate::core::session::Session;
use crate::core::types::{Change, Moment, Part};
use crate::core::watch;

impl Partition {
    /// Whether the session of a write may write. Only ring 0 writes sessions, so all partitions
    /// that a multi-partition command addresses decide alike. The reaper has no session.
    pub(super) fn verdict(&self, delivery: &Delivery) -> Result<(), ErrorCode> {
        let command = delivery.command();
        match command.session {
            SessionId(0) => Ok(()),
            session => self.sessions.check(session, command.epoch),
        }
    }

    /// A command that may change the tree is delivered: returns its time. Decided here and not
    /// when it executes, as commands that are set aside execute later at some replicas.
    pub(super) fn fix_moment(&mut self, delivery: &Delivery) -> i64 {
        let given = delivery.time_ms as i64;
        self.last_time_ms = self.last_time_ms.max(given);
        self.last_write = delivery.zxid;
        if mutated!(TimeGoesBack) { given } else { self.last_time_ms }
    }

    /// What this partition knows of a command's read set, on its turn.
    pub(super) fn contribution_to(
        &self,
        delivery: &Delivery,
        others: &[PartitionId],
        last_time_ms: i64,
    ) -> Output {
        let command = delivery.command();
        let (map, id) = (&self.map, self.id);
        let owns = |path: &str| map.owner(path) == id;
        let mut contribution = match &command.operation {
            Operation::Write(request) => {
                apply::contribute(request, &self.tree, &command.identities, &owns)
            }
            _ => apply::Contribution::default(),
        };
        contribution.last_time_ms = last_time_ms;
        let (zxid, contribution) = (delivery.zxid, Arc::new(contribution));
        Output::Contribute { zxid, from: id, to: others.to_vec(), contribution }
    }

    /// Says it, before it waits for anything.
    pub(super) fn contribute(&mut self, said: Output, out: &mut Vec<Output>) {
        if let Output::Contribute { zxid, contribution, .. } = &said {
            self.exchange.give(*zxid, contribution.encode());
            out.push(said);
        }
    }

    /// For a mutant: what this partition would say now of a command that another waits with.
    #[cfg(feature = "mutants")]
    pub fn peek(&self, waiting: &Partition, zxid: Zxid) -> Option<Arc<apply::Contribution>> {
        let (_, item) = waiting.aside.iter().find(|((at, _), _)| *at == zxid)?;
        let Work::Exchange { delivery, .. } = &item.work else { return None };
        match self.contribution_to(delivery, &[], 0) {
            Output::Contribute { contribution, .. } => Some(contribution),
            _ => None,
        }
    }

    /// For a mutant: what this partition would say now of a command that is yet to be delivered.
    #[cfg(feature = "mutants")]
    pub fn foresee(&self, zxid: Zxid) -> Option<Arc<apply::Contribution>> {
        let delivery = self.merge.foresee(zxid)?;
        match self.contribution_to(&delivery, &[], 0) {
            Output::Contribute { contribution, .. } => Some(contribution),
            _ => None,
        }
    }

    /// Executes a command of sessions or a barrier: it needs nothing from other partitions.
    pub(super) fn execute(
        &mut self,
        delivery: &Delivery,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        let command = delivery.command();
        let (session, zxid) = (command.session, delivery.zxid);
        let outcome = match &command.operation {
            Operation::Write(_) | Operation::Noop | Operation::Hello => return Ok(()),
            Operation::CreateSession { password, timeout_ms } => {
                // A copy: it must not keep the buffer that the command was read into.
                let (password, timeout_ms) = (Bytes::copy_from_slice(password), *timeout_ms);
                let server = command.origin.server;
                self.sessions.open(session, Session { password, timeout_ms, epoch: zxid, server });
                out.push(Output::SessionOpened { session, epoch: zxid, timeout_ms });
                CommandOutcome::SessionOpened(session)
            }
            Operation::ReopenSession { password, timeout_ms } => {
                let server = command.origin.server;
                match self.sessions.reopen(session, password, *timeout_ms, zxid, server) {
                    Some(_) => {
                        let timeout_ms = *timeout_ms;
                        out.push(Output::SessionOpened { session, epoch: zxid, timeout_ms });
                        CommandOutcome::SessionOpened(session)
                    }
                    None => CommandOutcome::SessionUnknown,
                }
            }
            Operation::CloseSession => {
                self.end_session(delivery, out)?;
                CommandOutcome::SessionClosed
            }
            Operation::Sync(path) => {
                let mut w = Writer::new();
                w.ustring(path);
                CommandOutcome::Synced(w.finish())
            }
        };
        out.push(Output::Executed { origin: command.origin, ring: zxid.ring(), zxid, outcome });
        Ok(())
    }

    /// A write that its session forbids.
    pub(super) fn refuse(&mut self, delivery: &Delivery, code: ErrorCode, out: &mut Vec<Output>) {
        let Operation::Write(request) = &delivery.command().operation else { return };
        let reply = match code {
            // The connection is closed without a reply, whatever the write.
            ErrorCode::SessionMoved => Err(code),
            _ => apply::refuse(request, code).reply,
        };
        self.answer(delivery, reply, out);
    }

    /// Executes a client's write, with the contributions of the other partitions it addresses.
    /// `time_ms` was fixed when it was delivered.
    pub(super) fn execute_write(
        &mut self,
        delivery: &Delivery,
        time_ms: i64,
        others: Option<&Contributions>,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        let command = delivery.command();
        let Operation::Write(request) = &command.operation else { return Ok(()) };
        let given = others.into_iter().flat_map(|all| all.values().map(|c| c.last_time_ms));
        let time_ms = if mutated!(TimeGoesBack) {
            time_ms
        } else {
            // No partition that it addresses has a later one.
            given.fold(time_ms, i64::max)
        };
        let time_ms =
            if mutated!(TimeAtExecution) { time_ms.max(self.last_time_ms) } else { time_ms };
        let moment = Moment { zxid: delivery.zxid, time_ms };
        let context = WriteContext {
            moment,
            session: command.session,
            identities: &command.identities,
            flags: command.flags,
        };
        let Outcome { reply, changes } = self.evaluate(request, &context, others);
        for (index, change) in &changes {
            let part = match others {
                None => Part::WHOLE,
                Some(_) => Part {
                    node: self.map.owner(change.path()) == self.id,
                    entry: self.map.entry_owner(change.path()) == self.id,
                },
            };
            self.change(*index, change, part, moment, out)?;
        }
        self.answer(delivery, reply, out);
        Ok(())
    }

    fn answer(
        &self,
        delivery: &Delivery,
        reply: Result<WriteReply, ErrorCode>,
        out: &mut Vec<Output>,
    ) {
        let outcome = CommandOutcome::Write(reply.map(|reply| {
            let mut w = Writer::new();
            reply.write_body(&mut w);
            w.finish()
        }));
        let zxid = delivery.zxid;
        let origin = delivery.command().origin;
        out.push(Output::Executed { origin, ring: zxid.ring(), zxid, outcome });
    }

    fn evaluate(
        &self,
        request: &Request,
        context: &WriteContext<'_>,
        others: Option<&Contributions>,
    ) -> Outcome {
        match others {
            None => apply::execute(request, &self.tree, context),
            Some(others) => {
                let (map, id) = (&self.map, self.id);
                let owns = |path: &str| map.owner(path) == id;
                let contributions: Vec<_> = others.values().map(|c| &**c).collect();
                let view = ContributedView {
                    local: &self.tree,
                    owns_node: &owns,
                    contributions: &contributions,
                };
                apply::execute(request, &view, context)
            }
        }
    }

    /// Makes one change of a command, and fires its watches.
    pub(super) fn change(
        &mut self,
        index: u32,
        change: &Change,
        part: Part,
        moment: Moment,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        if !part.node && !part.entry {
            return Ok(());
        }
        let mut fired = Vec::new();
        let deleted = matches!(change, Change::Delete { .. });
        if deleted {
            // The ACL that filters is that of the znode that goes.
            self.fire(index, change, part, &mut fired);
        }
        self.tree.apply(change, part, moment).map_err(|error| ExecutorError::Tree {
            partition: self.id,
            zxid: moment.zxid,
            error,
        })?;
        if !deleted {
            self.fire(index, change, part, &mut fired);
        }
        let zxid = moment.zxid;
        out.extend(fired.into_iter().map(|event| Output::Event { zxid, event }));
        Ok(())
    }

    fn fire(&mut self, index: u32, change: &Change, part: Part, fired: &mut Vec<watch::Event>) {
        let part = if mutated!(BothFire) { Part::WHOLE } else { part };
        if !self.watches.is_empty() {
            let acls = ChangeAcls { tree: &self.tree, change };
            self.watches.fire_change(index, change, part, &acls, fired);
        }
    }
}
