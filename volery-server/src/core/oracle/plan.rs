//! Which partitions a command addresses, and so which ring orders it. Looks at paths alone.
//! It never looks at the tree. Called by the front end and by every executor, which must agree.

use volery_proto::command::Operation;
use volery_proto::ids::{PartitionId, RingId};
use volery_proto::zk::{MultiOp, Request};

use super::{PartitionMap, ROOT_PARTITION};
use crate::core::mutation::mutated;

/// The partitions that a command addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// One: its own ring orders the command.
    One(PartitionId),
    /// Several, ascending: ring 0 orders it, and they exchange contributions.
    Several(Vec<PartitionId>),
    /// Every partition, each for itself: sessions, front ends, barriers. Ring 0.
    All,
}

impl Destination {
    /// The ring that orders the command.
    #[must_use]
    pub fn ring(&self) -> RingId {
        match self {
            Destination::One(partition) => partition.ring(),
            _ => RingId::GLOBAL,
        }
    }

    /// Whether `partition` is addressed.
    #[must_use]
    pub fn includes(&self, partition: PartitionId) -> bool {
        match self {
            Destination::One(one) => *one == partition,
            Destination::Several(several) => several.binary_search(&partition).is_ok(),
            Destination::All => true,
        }
    }
}

/// A znode that a write works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// As the client sent it; for a sequential create without its number.
    pub path: &'a str,
    /// Whether the parent's child list is written (or read) as well.
    pub entry: bool,
    /// Whether a sequence number will follow.
    pub sequential: bool,
}

impl<'a> Target<'a> {
    fn create(path: &'a str, flags: i32) -> Target<'a> {
        // 2 and 3 sequential, 6 sequential with TTL. A container takes the bit from its flags.
        let sequential = matches!(flags, 2 | 3 | 6);
        Target { path, entry: true, sequential }
    }

    fn delete(path: &'a str) -> Target<'a> {
        Target { path, entry: true, sequential: false }
    }

    fn node(path: &'a str) -> Target<'a> {
        Target { path, entry: false, sequential: false }
    }

    fn of_multi(op: &'a MultiOp) -> Target<'a> {
        match op {
            MultiOp::Create(c) | MultiOp::Create2(c) | MultiOp::CreateContainer(c) => {
                Target::create(&c.path, c.flags)
            }
            MultiOp::CreateTtl(c) => Target::create(&c.path, c.flags),
            MultiOp::Delete(d) => Target::delete(&d.path),
            MultiOp::SetData(s) => Target::node(&s.path),
            MultiOp::Check(c) => Target::node(&c.path),
        }
    }
}

impl PartitionMap {
    /// Where a command goes.
    #[must_use]
    pub fn destination(&self, operation: &Operation) -> Destination {
        match operation {
            Operation::Write(request) => self.destination_of_write(request),
            Operation::Sync(path) if mutated!(SyncOfOneRing) => Destination::One(self.owner(path)),
            _ => Destination::All,
        }
    }

    /// Where a client's write goes.
    #[must_use]
    pub fn destination_of_write(&self, request: &Request) -> Destination {
        let target = match request {
            Request::Multi(ops) => return self.destination_of_multi(ops),
            Request::Create(c) | Request::Create2(c) | Request::CreateContainer(c) => {
                Target::create(&c.path, c.flags)
            }
            Request::CreateTtl(c) => Target::create(&c.path, c.flags),
            Request::Delete(d) => Target::delete(&d.path),
            Request::DeleteContainer(d) => Target::delete(&d.path),
            Request::SetData(s) => Target::node(&s.path),
            Request::SetAcl(s) => Target::node(&s.path),
            _ => return Destination::One(ROOT_PARTITION),
        };
        let (node, entry) = self.owners_of(target);
        match entry {
            Some(entry) if entry != node => {
                Destination::Several(vec![node.min(entry), node.max(entry)])
            }
            _ => Destination::One(node),
        }
    }

    fn destination_of_multi(&self, ops: &[MultiOp]) -> Destination {
        let mut owners: Vec<PartitionId> = Vec::new();
        for op in ops {
            let (node, entry) = self.owners_of(Target::of_multi(op));
            for owner in std::iter::once(node).chain(entry) {
                if let Err(at) = owners.binary_search(&owner) {
                    owners.insert(at, owner);
                }
            }
        }
        match owners[..] {
            [] => Destination::One(ROOT_PARTITION),
            [one] => Destination::One(one),
            _ => Destination::Several(owners),
        }
    }

    /// Owners of the znode and, where it is concerned, of its entry.
    fn owners_of(&self, target: Target<'_>) -> (PartitionId, Option<PartitionId>) {
        let node = if target.sequential {
            // Any number will do: the hash ignores it.
            self.owner(&format!("{}0000000000", target.path))
        } else {
            self.owner(target.path)
        };
        (node, target.entry.then(|| self.entry_owner(target.path)))
    }
}
