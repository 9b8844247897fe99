//! Two replicas of every partition, and chance: values come when they come, contributions late,
//! twice, in any order or not at all, replicas fall back to snapshots, a whole partition is dead
//! for long. Whatever a replica says is compared with the reference at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::ids::{Instance, PartitionId, RingId, SessionId, Zxid};

use super::liveness;
use super::reads::READER;
use super::reference::{Event, Reference, watch};
use super::script::{Random, Script};
use crate::core::apply::Contribution;
use crate::core::executor::set_aside::SetAside;
use crate::core::executor::{Output, Partition, SnapshotError};

/// One replica.
pub(super) struct Replica {
    pub(super) partition: Partition,
    dead: bool,
    /// The next instance of ring 0 and of its own ring.
    next: [usize; 2],
    /// The last snapshot, and the one that is being written.
    snapshot: Option<Vec<Bytes>>,
    writing: Option<Vec<Bytes>>,
    pub(super) executed: BTreeSet<Zxid>,
    events: BTreeSet<Event>,
    /// One-shots of a reader, and when they are to fire.
    pub(super) watching: BTreeMap<ByteString, Option<Zxid>>,
    pub(super) ended: BTreeMap<SessionId, Zxid>,
}

struct Message {
    to: usize,
    zxid: Zxid,
    from: PartitionId,
    contribution: Arc<Contribution>,
}

pub(super) struct World<'a> {
    pub(super) script: &'a Script,
    pub(super) reference: &'a Reference,
    pub(super) random: Random,
    pub(super) replicas: Vec<Replica>,
    messages: Vec<Message>,
    /// The bound of what is set aside, if not the usual one.
    bound: Option<usize>,
    /// The most that was set aside at once, over all replicas.
    pub(super) most: usize,
}

impl<'a> World<'a> {
    pub(super) fn new(seed: u64, script: &'a Script, reference: &'a Reference) -> World<'a> {
        let mut random = Random::new(seed ^ 0x5eed);
        let bound = random.chance(15).then(|| 1 + random.below(4));
        // A partition without which many a command has to wait.
        let dead = random.chance(60).then(|| 1 + random.below(script.partitions.into()) as u16);
        let mut world = World {
            script,
            reference,
            random,
            replicas: Vec::new(),
            messages: Vec::new(),
            bound,
            most: 0,
        };
        for id in (1..=script.partitions).chain(1..=script.partitions) {
            let seed = world.random.next();
            let partition = Partition::new(PartitionId(id), script.map.clone(), seed);
            let mut replica = Replica {
                partition,
                dead: dead == Some(id),
                next: [0, 0],
                snapshot: None,
                writing: None,
                executed: BTreeSet::new(),
                events: BTreeSet::new(),
                watching: BTreeMap::new(),
                ended: BTreeMap::new(),
            };
            world.prepare(&mut replica.partition);
            world.replicas.push(replica);
        }
        world
    }

    pub(super) fn is_dead(&self, at: usize) -> bool {
        self.replicas[at].dead
    }

    /// Whether a partition is to answer a command.
    pub(super) fn wanted(&self, id: u16, zxid: Zxid) -> bool {
        self.reference.outcomes.contains_key(&(PartitionId(id), zxid))
    }

    fn prepare(&self, partition: &mut Partition) {
        watch(partition);
        // What a snapshot holds is above the bound, if so: nothing is delivered until it is gone.
        if let Some(bound) = self.bound
            && partition.set_aside() == 0
        {
            partition.aside = SetAside::bounded(bound);
        }
    }

    pub(super) fn run(mut self) -> Result<usize, String> {
        for _ in 0..self.script.steps.len() * 4 {
            self.tick()?;
        }
        self.settle()?;
        if self.bound.is_none() {
            liveness::check(&self)?;
        }
        for replica in &mut self.replicas {
            replica.dead = false;
        }
        for _ in 0..self.script.steps.len() {
            self.tick()?;
        }
        self.settle()?;
        self.check_end()?;
        Ok(self.most)
    }

    fn tick(&mut self) -> Result<(), String> {
        let at = self.random.below(self.replicas.len());
        match self.random.below(100) {
            0..=54 => self.feed(at),
            55..=79 => self.deliver(),
            80..=84 => self.pull(at),
            85..=88 => self.snapshot(at),
            89 => self.fall_back(at),
            _ => self.read(at),
        }
    }

    /// Everybody gets everything but the dead, who get nothing.
    fn settle(&mut self) -> Result<(), String> {
        loop {
            let mut more = false;
            for at in 0..self.replicas.len() {
                while !self.replicas[at].dead
                    && self.replicas[at].next.iter().any(|n| *n < self.script.steps.len())
                {
                    self.feed(at)?;
                    more = true;
                }
            }
            while !self.messages.is_empty() {
                self.deliver()?;
                more = true;
            }
            for at in 0..self.replicas.len() {
                if !self.replicas[at].dead {
                    self.pull_all(at, &mut more)?;
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// The next values of one of a replica's rings.
    fn feed(&mut self, at: usize) -> Result<(), String> {
        let count = 1 + self.random.below(8);
        let which = self.random.below(2);
        let replica = &mut self.replicas[at];
        if replica.dead {
            return Ok(());
        }
        let ring = [RingId::GLOBAL, replica.partition.id().ring()][which];
        for _ in 0..count {
            let next = replica.next[which];
            let Some(value) = self.script.value(ring, next) else { break };
            let decided = replica.partition.decided(ring, Instance(next as u64), &value);
            decided.map_err(|error| error.to_string())?;
            replica.next[which] += 1;
        }
        self.advance(at)
    }

    /// Some message arrives, or is lost; some arrive again.
    fn deliver(&mut self) -> Result<(), String> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let which = self.random.below(self.messages.len());
        let message = self.messages.swap_remove(which);
        let (to, again) = (message.to, self.random.chance(10));
        if self.replicas[to].dead || self.random.chance(10) {
            return Ok(());
        }
        let Message { zxid, from, ref contribution, .. } = message;
        self.replicas[to].partition.contribution(zxid, from, contribution.clone());
        if again {
            self.messages.push(message);
        }
        self.advance(to)
    }

    /// A replica asks for what it lacks.
    fn pull(&mut self, at: usize) -> Result<(), String> {
        let lacks: Vec<_> = self.replicas[at].partition.lacks().collect();
        if lacks.is_empty() {
            return Ok(());
        }
        let (zxid, lacking) = self.random.pick(&lacks).clone();
        if let Some(from) = lacking.first() {
            let copy = self.random.below(2) * usize::from(self.script.partitions);
            self.ask(at, zxid, *from, usize::from(from.0) - 1 + copy);
        }
        self.advance(at)
    }

    fn ask(&mut self, at: usize, zxid: Zxid, from: PartitionId, of: usize) -> bool {
        let Some(given) = self.replicas[of].partition.contributed(zxid) else { return false };
        self.replicas[at].partition.contribution(zxid, from, given);
        true
    }

    fn pull_all(&mut self, at: usize, more: &mut bool) -> Result<(), String> {
        let lacks: Vec<_> = self.replicas[at].partition.lacks().collect();
        for (zxid, lacking) in lacks {
            for from in lacking {
                for copy in 0..2 {
                    let of = usize::from(from.0) - 1 + copy * usize::from(self.script.partitions);
                    *more |= self.ask(at, zxid, from, of);
                }
            }
        }
        self.advance(at)
    }

    fn advance(&mut self, at: usize) -> Result<(), String> {
        let count = self.replicas.len();
        let replica = &mut self.replicas[at];
        let (id, before) = (replica.partition.id(), replica.partition.position());
        let mut outputs = Vec::new();
        let done = replica.partition.advance(&mut outputs);
        done.map_err(|error| format!("replica {at}: {error}"))?;
        self.most = self.most.max(replica.partition.set_aside());
        let mut ending = None;
        for output in outputs {
            match output {
                Output::Contribute { zxid, to, contribution, .. } => {
                    if self.reference.contributions.get(&(id, zxid)) != Some(&contribution) {
                        return Err(format!("replica {at} contributes {contribution:?} to {zxid}"));
                    }
                    for to in to {
                        for to in [usize::from(to.0) - 1, usize::from(to.0) - 1 + count / 2] {
                            let contribution = contribution.clone();
                            self.messages.push(Message { to, zxid, from: id, contribution });
                        }
                    }
                }
                Output::Executed { zxid, outcome, .. } => {
                    let wanted = self.reference.outcomes.get(&(id, zxid));
                    if wanted != Some(&outcome) || zxid <= before {
                        return Err(format!(
                            "replica {at}, past {before}: {zxid} is {outcome:?}, not {wanted:?}"
                        ));
                    }
                    replica.executed.insert(zxid);
                    replica.ended.extend(ending.take().map(|session| (session, zxid)));
                }
                Output::Event { zxid, event } => {
                    if zxid <= before {
                        return Err(format!("replica {at}, past {before}: {event:?} at {zxid}"));
                    }
                    if event.conn == READER {
                        let wanted = replica.watching.remove(&event.path);
                        if wanted != Some(Some(zxid)) {
                            return Err(format!(
                                "replica {at}: {event:?} at {zxid}, not {wanted:?}"
                            ));
                        }
                        continue;
                    }
                    replica.events.insert((zxid, event.kind, event.path));
                }
                // Its closing's result comes next.
                Output::SessionEnded { session } => ending = Some(session),
                Output::Hello { .. } | Output::SessionOpened { .. } => {}
            }
        }
        Ok(())
    }

    /// A step of a snapshot.
    fn snapshot(&mut self, at: usize) -> Result<(), String> {
        let replica = &mut self.replicas[at];
        match &mut replica.writing {
            None => replica.writing = Some(replica.partition.begin_snapshot()),
            Some(chunks) => {
                let mut chunk = Vec::new();
                let done = replica.partition.snapshot_slice(6, &mut chunk);
                chunks.push(chunk.into());
                if done {
                    replica.snapshot = replica.writing.take();
                }
            }
        }
        Ok(())
    }

    /// A replica starts again from its last snapshot.
    fn fall_back(&mut self, at: usize) -> Result<(), String> {
        let seed = self.random.next();
        let id = self.replicas[at].partition.id();
        let mut partition = match &self.replicas[at].snapshot {
            None => Partition::new(id, self.script.map.clone(), seed),
            Some(chunks) => {
                let mut chunks = chunks.iter().cloned();
                let next = || Ok::<_, SnapshotError>(chunks.next());
                Partition::load(id, self.script.map.clone(), seed, next)
                    .map_err(|error| format!("replica {at}: {error}"))?
            }
        };
        self.prepare(&mut partition);
        let (global, own) = partition.cursors();
        let replica = &mut self.replicas[at];
        replica.next = [global.instance.0 as usize, own.instance.0 as usize];
        replica.writing = None;
        replica.watching.clear();
        replica.partition = partition;
        self.advance(at)
    }

    fn check_end(&self) -> Result<(), String> {
        for (at, replica) in self.replicas.iter().enumerate() {
            let partition = &replica.partition;
            let id = partition.id();
            if partition.set_aside() > 0 {
                return Err(format!("replica {at}: {:?} are left", partition.aside));
            }
            let executed: BTreeSet<Zxid> =
                self.reference.outcomes.keys().filter(|(p, _)| *p == id).map(|(_, z)| *z).collect();
            if replica.executed != executed {
                return Err(format!("replica {at} executed {:?}", replica.executed));
            }
            let events = self.reference.events.get(&id).cloned().unwrap_or_default();
            if replica.events != events {
                let differ: Vec<_> = replica.events.symmetric_difference(&events).collect();
                return Err(format!("replica {at}: events {differ:?}"));
            }
            if let Some(lost) = replica.watching.iter().find(|(_, zxid)| zxid.is_some()) {
                return Err(format!("replica {at}: a watch has not fired: {lost:?}"));
            }
            if partition.exchange.outbox != self.reference.outboxes[&id] {
                return Err(format!("replica {at}: another outbox"));
            }
            if partition.digest() != self.reference.digests[&id] {
                return Err(format!("replica {at}: another state"));
            }
        }
        Ok(())
    }
}
