//! The same commands one after the other: replicas that hold everything behind a command that
//! waits, and get every contribution at once. Remembers all that must not depend on when
//! contributions arrive, and what every znode was at every zxid.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use volery_proto::ids::{Instance, PartitionId, RingId, SessionId, Zxid};
use volery_proto::zk::{Acl, Stat};

use super::script::{PATHS, Script};
use crate::core::apply::Contribution;
use crate::core::executor::local::{Client, WatchList};
use crate::core::executor::set_aside::SetAside;
use crate::core::executor::{CommandOutcome, Output, Partition};
use crate::core::tree::Tree;
use crate::core::types::ConnId;
use crate::core::watch::EventType;

/// An event without its place among those of its zxid.
pub(super) type Event = (Zxid, EventType, ByteString);

/// All that is seen of a znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    stat: Stat,
    data: Option<Bytes>,
    acl: Vec<Acl>,
    children: Vec<String>,
}

impl Node {
    pub(super) fn of(tree: &Tree, path: &str) -> Option<Node> {
        let node = tree.get(path)?;
        let mut children: Vec<String> = node.children().map(str::to_owned).collect();
        children.sort_unstable();
        let data = node.data().map(Bytes::copy_from_slice);
        Some(Node { stat: node.stat(), data, acl: node.acl().to_vec(), children })
    }
}

/// What one partition holds after a command.
#[derive(Debug)]
struct Moment {
    nodes: Vec<Option<Node>>,
    below: Vec<usize>,
    ephemerals: Vec<ByteString>,
}

/// Subtrees that are counted.
pub(super) const SUBTREES: [&str; 4] = ["/", "/a", "/b/l", "/a/x"];
/// The session whose ephemerals are listed.
pub(super) const LISTED: SessionId = SessionId(1);

/// What every replica must come to.
#[derive(Debug, Default)]
pub(super) struct Reference {
    pub(super) outcomes: BTreeMap<(PartitionId, Zxid), CommandOutcome>,
    pub(super) contributions: BTreeMap<(PartitionId, Zxid), Arc<Contribution>>,
    pub(super) events: BTreeMap<PartitionId, BTreeSet<Event>>,
    pub(super) digests: BTreeMap<PartitionId, u64>,
    pub(super) outboxes: BTreeMap<PartitionId, BTreeMap<Zxid, Bytes>>,
    moments: BTreeMap<PartitionId, BTreeMap<Zxid, Moment>>,
}

/// Watches everything of a partition.
pub(super) fn watch(partition: &mut Partition) {
    let identities = Arc::from([]);
    let client =
        Client { conn: ConnId(1), session: LISTED, identities: &identities, skip_acl: true };
    let _ = partition.add_watch(&client, &"/".into(), 1);
    for path in PATHS {
        let _ = partition.add_watch(&client, &path.into(), 0);
    }
    // A one-shot for what is to come.
    let _ = partition.watch_again(&client, WatchList::Exist, &"/b/l/k".into(), Zxid::ZERO);
}

impl Reference {
    pub(super) fn run(script: &Script) -> Result<Reference, String> {
        let mut reference = Reference::default();
        let mut partitions: Vec<Partition> = (1..=script.partitions)
            .map(|id| Partition::new(PartitionId(id), script.map.clone(), 1))
            .collect();
        for partition in &mut partitions {
            partition.aside = SetAside::bounded(1);
            watch(partition);
        }
        for (at, step) in script.steps.iter().enumerate() {
            for partition in &mut partitions {
                for ring in [RingId::GLOBAL, partition.id().ring()] {
                    let value = script.value(ring, at).unwrap();
                    let decided = partition.decided(ring, Instance(at as u64), &value);
                    decided.map_err(|error| error.to_string())?;
                }
            }
            while reference.advance(&mut partitions)? {}
            for partition in &partitions {
                if partition.set_aside() > 0 || partition.position() < step.zxid {
                    return Err(format!("{} is stuck at {}", partition.id(), step.zxid));
                }
                reference.remember(partition, step.zxid);
            }
        }
        for partition in &partitions {
            reference.digests.insert(partition.id(), partition.digest());
            reference.outboxes.insert(partition.id(), partition.exchange.outbox.clone());
        }
        Ok(reference)
    }

    fn advance(&mut self, partitions: &mut [Partition]) -> Result<bool, String> {
        let mut outputs = Vec::new();
        let mut any = false;
        for at in 0..partitions.len() {
            let id = partitions[at].id();
            partitions[at].advance(&mut outputs).map_err(|error| format!("reference: {error}"))?;
            any |= !outputs.is_empty();
            for output in outputs.drain(..) {
                match output {
                    Output::Contribute { zxid, to, contribution, .. } => {
                        for to in to {
                            let other = &mut partitions[usize::from(to.0) - 1];
                            other.contribution(zxid, id, contribution.clone());
                        }
                        self.contributions.insert((id, zxid), contribution);
                    }
                    Output::Executed { zxid, outcome, .. } => {
                        self.outcomes.insert((id, zxid), outcome);
                    }
                    Output::Event { zxid, event } => {
                        let events = self.events.entry(id).or_default();
                        events.insert((zxid, event.kind, event.path));
                    }
                    _ => {}
                }
            }
        }
        Ok(any)
    }

    fn remember(&mut self, partition: &Partition, zxid: Zxid) {
        let tree = partition.tree();
        let moment = Moment {
            nodes: PATHS.iter().map(|path| Node::of(tree, path)).collect(),
            below: SUBTREES.iter().map(|path| tree.descendants(path)).collect(),
            ephemerals: tree.ephemerals(LISTED.0),
        };
        self.moments.entry(partition.id()).or_default().insert(zxid, moment);
    }

    fn at(&self, partition: PartitionId, zxid: Zxid) -> Option<&Moment> {
        Some(self.moments.get(&partition)?.range(..=zxid).next_back()?.1)
    }

    /// A znode after everything up to `zxid`.
    pub(super) fn node(&self, partition: PartitionId, path: usize, zxid: Zxid) -> Option<&Node> {
        self.at(partition, zxid)?.nodes[path].as_ref()
    }

    /// The znodes below one of the subtrees.
    pub(super) fn below(
        &self,
        partition: PartitionId,
        subtree: usize,
        zxid: Zxid,
    ) -> Option<usize> {
        Some(self.at(partition, zxid)?.below[subtree])
    }

    /// The ephemerals of the listed session.
    pub(super) fn ephemerals(&self, partition: PartitionId, zxid: Zxid) -> &[ByteString] {
        self.at(partition, zxid).map_or(&[], |moment| &moment.ephemerals)
    }
}
