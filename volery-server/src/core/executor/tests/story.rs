//! ATTACKS row 23, told step by step: a multi over a healthy and a dead partition, and what goes on
//! beside it.

use std::sync::Arc;

use bytestring::ByteString;
use volery_proto::command::Operation;
use volery_proto::ids::{Instance, PartitionId, RingId, SessionId, Zxid};
use volery_proto::zk::{CreateRequest, MultiOp, Request, SetDataRequest, perms};

use super::script::{Maker, Random};
use crate::core::auth::world_acl;
use crate::core::executor::{Output, Partition, Scope};
use crate::core::oracle::PartitionMap;

fn create(path: &str, flags: i32) -> CreateRequest {
    let acl = vec![world_acl(perms::ALL)];
    CreateRequest { path: path.into(), data: None, acl, flags }
}

fn set(path: &str) -> MultiOp {
    MultiOp::SetData(SetDataRequest { path: path.into(), data: None, version: -1 })
}

struct Pair {
    partitions: [Partition; 2],
    /// Instances that each has got; both rings of a partition get the same.
    got: [usize; 2],
    maker: Maker,
    ended: Vec<SessionId>,
}

impl Pair {
    fn new() -> Pair {
        let map = PartitionMap::new(1, 2, &[], &[(PartitionId(2), "/q".to_owned())]);
        let map = Arc::new(map);
        let partition = |id| Partition::new(PartitionId(id), map.clone(), 1);
        let mut maker = Maker::new(map.clone(), 2, Random::new(0));
        maker.hello(1);
        Pair { partitions: [partition(1), partition(2)], got: [0, 0], maker, ended: Vec::new() }
    }

    fn write(&mut self, session: (SessionId, Zxid), request: Request) -> Zxid {
        self.maker.numbered(session, Operation::Write(request))
    }

    /// Partitions of these indexes get all that is decided, and one another's contributions.
    fn run(&mut self, alive: &[usize]) -> Result<(), String> {
        for at in alive.iter().copied() {
            let partition = &mut self.partitions[at];
            while let Some(global) = self.maker.value(RingId::GLOBAL, self.got[at]) {
                let instance = Instance(self.got[at] as u64);
                let own = partition.id().ring();
                let value = self.maker.value(own, self.got[at]).unwrap();
                partition.decided(RingId::GLOBAL, instance, &global).unwrap();
                partition.decided(own, instance, &value).unwrap();
                self.got[at] += 1;
            }
        }
        let mut outputs = Vec::new();
        for at in [alive, alive].concat() {
            let done = self.partitions[at].advance(&mut outputs);
            done.map_err(|error| error.to_string())?;
            for output in outputs.drain(..) {
                match output {
                    Output::Contribute { zxid, from, contribution, .. } => {
                        self.partitions[1 - at].contribution(zxid, from, contribution);
                    }
                    Output::SessionEnded { session } => self.ended.push(session),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn healthy(&self) -> &Partition {
        &self.partitions[0]
    }

    fn has(&self, path: &str) -> bool {
        self.healthy().tree().get(path).is_some()
    }
}

fn hold(what: bool, rule: &str) -> Result<(), String> {
    if what { Ok(()) } else { Err(rule.to_owned()) }
}

pub(super) fn tell() -> Result<(), String> {
    let mut pair = Pair::new();
    let (one, two) = (pair.maker.open_session(), pair.maker.open_session());
    for (path, flags) in [("/q", 0), ("/l", 0), ("/l/a", 1), ("/l/b", 1), ("/m", 0)] {
        pair.write(one, Request::Create(create(path, flags)));
    }
    let before = pair.write(one, Request::Create(create("/l/c", 2)));
    pair.run(&[0, 1])?;
    hold(pair.healthy().position() == pair.healthy().delivered(), "nothing waits at first")?;

    // Partition 2 is gone. The multi would also create an ephemeral of session one.
    let ops = vec![set("/q"), set("/l/b"), MultiOp::Create(create("/m/e", 3))];
    let multi = pair.write(one, Request::Multi(ops));
    let passed = pair.write(two, Request::Create(create("/l/d", 0)));
    let behind = pair.write(two, Request::Create(create("/m/f", 0)));
    pair.run(&[0])?;
    hold(pair.has("/l/d") && !pair.has("/m/f"), "only what touches the multi waits")?;
    hold(pair.healthy().set_aside() == 2, "the multi and the create behind it")?;
    hold(pair.healthy().position() < multi, "the multi's events are still to come")?;
    hold(pair.healthy().delivered() >= behind, "all is delivered")?;
    let shows = |pair: &Pair, scope, at| pair.healthy().shows(scope, at);
    hold(shows(&pair, Scope::Znode("/l"), passed), "a read that touches nothing runs")?;
    hold(shows(&pair, Scope::Znode("/m"), before), "below the multi, the state before it")?;
    hold(!shows(&pair, Scope::Znode("/m"), multi), "above it, a read waits")?;
    hold(!shows(&pair, Scope::Subtree("/"), before), "a count waits for all that is below")?;
    hold(!shows(&pair, Scope::Znode("/m/e0000000000"), multi), "this name may come")?;

    pair.maker.numbered(one, Operation::CloseSession);
    pair.run(&[0])?;
    hold(pair.ended == [one.0], "the closing is not held up")?;
    hold(!pair.has("/l/a"), "the lock is released")?;
    hold(pair.has("/l/b"), "what the multi touches waits for it")?;
    hold(!shows(&pair, Scope::Znode("/l"), before), "half of the closing is never shown")?;

    pair.run(&[1, 0])?;
    let left: Vec<ByteString> = pair.healthy().tree().ephemerals(one.0.0);
    hold(left.is_empty(), "also what the multi created for the session is gone")?;
    hold(pair.has("/m/f") && pair.healthy().set_aside() == 0, "nothing waits any more")?;
    let cversion = pair.healthy().tree().get("/m").map(|node| node.info().cversion);
    hold(cversion == Some(2), "the multi has created its znode before that went")?;
    hold(pair.healthy().position() == pair.healthy().delivered(), "nothing waits at last")
}
