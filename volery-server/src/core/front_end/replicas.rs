//! How the front end reaches the replicas that serve it: here, those of its own process.
//! It only passes on; an attachment to another server's replica takes the same place.

use volery_proto::ids::{PartitionId, Zxid};

use crate::core::executor::Partition;
use crate::core::merge::skip::Demands;
use crate::core::oracle::PartitionMap;

/// The replicas of one server, and the demands for what they wait for.
#[derive(Debug)]
pub struct Replicas<'a> {
    partitions: &'a mut [Partition],
    map: &'a PartitionMap,
    demands: &'a mut Demands,
    /// Every partition is executed through this.
    least: Zxid,
}

impl<'a> Replicas<'a> {
    /// The replicas of partitions 1, 2, … in order.
    pub fn new(
        partitions: &'a mut [Partition],
        map: &'a PartitionMap,
        demands: &'a mut Demands,
    ) -> Replicas<'a> {
        let least = partitions.iter().map(Partition::position).min().unwrap_or_default();
        Replicas { partitions, map, demands, least }
    }

    /// The partition map.
    #[must_use]
    pub fn map(&self) -> &'a PartitionMap {
        self.map
    }

    /// The replica of a partition.
    pub fn partition(&mut self, id: PartitionId) -> &mut Partition {
        // The map names partitions 1..=n only, and all of them are here.
        &mut self.partitions[usize::from(id.0) - 1]
    }

    /// How far a partition is executed here: no event up to this is still to come.
    #[must_use]
    pub fn position(&self, id: PartitionId) -> Zxid {
        self.partitions[usize::from(id.0) - 1].position()
    }

    /// How far it is delivered here: executed, but for what is set aside.
    #[must_use]
    pub fn delivered(&self, id: PartitionId) -> Zxid {
        self.partitions[usize::from(id.0) - 1].delivered()
    }

    /// Whether it holds commands that it cannot go on with.
    #[must_use]
    pub fn is_held_up(&self, id: PartitionId) -> bool {
        self.partitions[usize::from(id.0) - 1].is_held_up()
    }

    /// How far every partition is executed here.
    #[must_use]
    pub fn least_position(&self) -> Zxid {
        self.least
    }

    /// Somebody waits for a partition to be executed through `zxid`: its rings are to pass it.
    pub fn wait_for(&mut self, id: PartitionId, zxid: Zxid) {
        self.demands.wait_for(0, zxid.slot());
        self.demands.wait_for(usize::from(id.0), zxid.slot());
    }
}
