//! From delivery to execution: is the command new, is it for this partition, may its session
//! write, does it have to wait? What is decided here is the same at every replica, whatever
//! arrives when. It touches no znode itself. Called through `Partition::advance`.

use volery_proto::command::Operation;

use super::dedup::Turn;
use super::set_aside::{Footprint, Item, Work};
use super::{ExecutorError, Output, Partition};
use crate::core::merge::Delivery;
use crate::core::mutation::mutated;
use crate::core::oracle::Destination;

impl Partition {
    /// Executes everything that can be.
    ///
    /// # Errors
    /// An invariant is broken.
    pub fn advance(&mut self, out: &mut Vec<Output>) -> Result<(), ExecutorError> {
        loop {
            self.go_on(out)?;
            if self.aside.is_full() {
                return Ok(());
            }
            let Some(delivery) = self.merge.pop() else { return Ok(()) };
            self.deliver(delivery, out)?;
        }
    }

    /// Goes on with what is set aside and has become free.
    fn go_on(&mut self, out: &mut Vec<Output>) -> Result<(), ExecutorError> {
        while let Some(place) = self.aside.next_ready() {
            if let Some((delivery, others, last_time_ms)) = self.aside.silent(place) {
                let contributed = self.contribution_to(delivery, others, last_time_ms);
                self.contribute(contributed, out);
                if !self.aside.contributed(place) {
                    continue;
                }
            }
            let Some(item) = self.aside.take(place) else { continue };
            match item.work {
                Work::Alone(delivery) => self.execute_write(&delivery, item.time_ms, None, out)?,
                Work::Exchange { delivery, given, .. } => {
                    self.execute_write(&delivery, item.time_ms, Some(&given), out)?;
                }
                Work::Ending { session, removals } => {
                    self.end_later(place, session, &removals, item.time_ms, out)?;
                }
            }
        }
        Ok(())
    }

    /// One command is delivered: it executes, or is set aside.
    fn deliver(&mut self, delivery: Delivery, out: &mut Vec<Output>) -> Result<(), ExecutorError> {
        self.since_snapshot += 1;
        let ring = delivery.zxid.ring();
        if mutated!(UnaddressedNotCounted) {
            let operation = &delivery.command().operation;
            if !self.map.destination(operation).includes(self.id) {
                return Ok(());
            }
        }
        match self.front_ends.turn(delivery.command(), ring, delivery.zxid) {
            Turn::Execute => {}
            Turn::Hello => {
                out.push(Output::Hello { origin: delivery.command().origin, zxid: delivery.zxid });
                return Ok(());
            }
            Turn::Pass => return Ok(()),
        }
        let destination = self.map.destination(&delivery.command().operation);
        if !destination.includes(self.id) {
            return Ok(());
        }
        match &delivery.command().operation {
            Operation::Write(_) => self.deliver_write(delivery, destination, out),
            _ => self.execute(&delivery, out),
        }
    }

    /// A client's write is delivered. All but its turn is decided here.
    fn deliver_write(
        &mut self,
        delivery: Delivery,
        destination: Destination,
        out: &mut Vec<Output>,
    ) -> Result<(), ExecutorError> {
        let Operation::Write(request) = &delivery.command().operation else { return Ok(()) };
        if let Err(code) = self.verdict(&delivery) {
            self.refuse(&delivery, code, out);
            return Ok(());
        }
        let time_ms = self.fix_moment(&delivery);
        let zxid = delivery.zxid;
        let (work, footprint) = match destination {
            Destination::Several(partitions) => {
                let footprint = Footprint::of_write(request);
                let others: Vec<_> = partitions.into_iter().filter(|p| *p != self.id).collect();
                let mut given = self.exchange.take_early(zxid);
                given.retain(|from, _| others.contains(from));
                if mutated!(ContributesEarly) && self.aside.blocks(zxid, &footprint) {
                    let early = self.contribution_to(&delivery, &others, time_ms);
                    self.contribute(early, out);
                }
                (Work::Exchange { delivery, others, contributed: false, given }, footprint)
            }
            _ if self.aside.is_empty() => {
                return self.execute_write(&delivery, time_ms, None, out);
            }
            _ => {
                let footprint = Footprint::of_write(request);
                if !self.aside.blocks(zxid, &footprint) {
                    return self.execute_write(&delivery, time_ms, None, out);
                }
                (Work::Alone(delivery), footprint)
            }
        };
        self.aside.insert((zxid, 0), Item::new(work, time_ms, footprint));
        Ok(())
    }
}
