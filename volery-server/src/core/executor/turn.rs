//! One command executes: sessions, barriers and writes; changes go into the tree, events out.
//! It never waits: contributions are at hand when it is called. Called by the replica.

use std::sync::Arc;

use bytes::Bytes;
use volery_proto::command::Operation;
use volery_proto::ids::{PartitionId, SessionId};
use volery_proto::jute::Writer;
use volery_proto::zk::{ErrorCode, Request};

use super::exchange::Contributions;
use super::views::ChangeAcls;
use super::{CommandOutcome, ExecutorError, Output, Partition};
use crate::core::apply::{self, ContributedView, Outcome, WriteContext};
use crate::core::merge::Delivery;
use crate::core::mutation::mutated;
use crate::core::session::Session;
use crate::core::types::{Change, Moment, Part};
use crate::core::watch;

impl Partition {
    /// Whether the session of a write may write. Only ring 0 writes sessions, so all partitions
    /// that a multi-partition command addresses decide alike. The reaper has no session.
    pub(super) fn may_execute(&self, delivery: &Delivery) -> bool {
        let command = delivery.command();
        command.session == SessionId(0)
            || self.sessions.check(command.session, command.epoch).is_ok()
    }

    /// Says what this partition knows of a command's read set, before it waits for anything.
    pub(super) fn contribute(
        &mut self,
        delivery: &Delivery,
        partitions: &[PartitionId],
        out: &mut Vec<Output>,
    ) {
        let Operation::Write(request) = &delivery.command().operation else { return };
        let (map, id) = (&self.map, self.id);
        let owns = |path: &str| map.owner(path) == id;
        let identities = &delivery.command().identities;
        let mut contribution = apply::contribute(request, &self.tree, identities, &owns);
        contribution.last_time_ms = self.last_time_ms;
        let contribution = Arc::new(contribution);
        self.exchange.give(delivery.zxid, contribution.encode());
        let to = partitions.iter().copied().filter(|p| *p != id).collect();
        out.push(Output::Contribute { zxid: delivery.zxid, from: id, to, contribution });
    }

    /// For a mutant: what this partition would say now of the command that another waits with.
    #[cfg(feature = "mutants")]
    pub fn peek(&self, waiting: &Partition) -> Option<Arc<apply::Contribution>> {
        let delivery = &waiting.waiting.as_ref()?.delivery;
        let Operation::Write(request) = &delivery.command().operation else { return None };
        let owns = |path: &str| self.map.owner(path) == self.id;
        let identities = &delivery.command().identities;
        Some(Arc::new(apply::contribute(request, &self.tree, identities, &owns)))
    }

    /// Executes a command that needs nothing from other partitions.
    pub(super) fn execute(
        &mut self,
        delivery: &Delivery,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        let command = delivery.command();
        let (session, zxid) = (command.session, delivery.zxid);
        let outcome = match &command.operation {
            Operation::Write(_) => return self.execute_write(delivery, None, out),
            Operation::Noop | Operation::Hello => return Ok(()),
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

    /// A session ends: its ephemerals of this partition go, without asking any other.
    fn end_session(
        &mut self,
        delivery: &Delivery,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        let command = delivery.command();
        let session = command.session;
        if !self.sessions.close(session, command.epoch) {
            return Ok(());
        }
        let moment = self.moment(delivery, None);
        let changes = self.tree.end_session_changes(session.0);
        if !changes.is_empty() {
            self.last_write = delivery.zxid;
        }
        for (index, (change, part)) in changes.iter().enumerate() {
            self.change(index as u32, change, *part, moment, out)?;
        }
        out.push(Output::SessionEnded { session });
        Ok(())
    }

    /// The command's time: no partition that it touches has a later one.
    fn moment(&mut self, delivery: &Delivery, others: Option<&Contributions>) -> Moment {
        let given = others.into_iter().flat_map(|all| all.values().map(|c| c.last_time_ms));
        let time_ms = given.fold(self.last_time_ms.max(delivery.time_ms as i64), i64::max);
        let time_ms = if mutated!(TimeGoesBack) { delivery.time_ms as i64 } else { time_ms };
        self.last_time_ms = time_ms;
        Moment { zxid: delivery.zxid, time_ms }
    }

    /// Executes a client's write, with the contributions of the other partitions it addresses.
    pub(super) fn execute_write(
        &mut self,
        delivery: &Delivery,
        others: Option<&Contributions>,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        let command = delivery.command();
        let Operation::Write(request) = &command.operation else { return Ok(()) };
        let zxid = delivery.zxid;
        // The reaper has no session.
        let may = match command.session {
            SessionId(0) => Ok(()),
            session => self.sessions.check(session, command.epoch),
        };
        let Outcome { reply, changes } = match may {
            // The connection is closed without a reply, whatever the write.
            Err(ErrorCode::SessionMoved) => {
                Outcome { reply: Err(ErrorCode::SessionMoved), changes: Vec::new() }
            }
            Err(code) => apply::refuse(request, code),
            Ok(()) => {
                let context = WriteContext {
                    moment: self.moment(delivery, others),
                    session: command.session,
                    identities: &command.identities,
                    flags: command.flags,
                };
                self.last_write = zxid;
                self.evaluate(request, &context, others)
            }
        };
        let moment = Moment { zxid, time_ms: self.last_time_ms };
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
        let outcome = CommandOutcome::Write(reply.map(|reply| {
            let mut w = Writer::new();
            reply.write_body(&mut w);
            w.finish()
        }));
        out.push(Output::Executed { origin: command.origin, ring: zxid.ring(), zxid, outcome });
        Ok(())
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
    fn change(
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
