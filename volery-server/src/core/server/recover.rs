//! From what a disk holds to a running machine: rings from the log, replicas from the snapshots;
//! what is known decided executes, and the hello of this start is proposed.
//! It answers nobody yet. Part of the server machine; called at a start.

use std::collections::VecDeque;

use volery_proto::ids::{Instance, RingId, Slot};

use super::attach::{self, Links};
use super::forward::Outgoing;
use super::guests::Guests;
use super::peers::Peers;
use super::snapshots::{Cycle, Mark};
use super::touches::Touches;
use super::transfer::Transfer;
use super::{Recovered, Server, ServerConfig, ServerError, cursors};
use crate::core::executor::Partition;
use crate::core::front_end::{Attachments, FrontEnd};
use crate::core::merge::skip::Demands;
use crate::core::ring::{Ring, RingConfig};
use crate::core::types::Now;

impl Recovered {
    /// The storage found an empty directory under a known id, or cut the log's tail where a
    /// synced record may have stood: this server does not vote until it has learned from the
    /// others what it may have forgotten (ATTACKS row 4).
    pub fn memory_lost(&mut self) {
        self.rings.iter_mut().for_each(crate::core::ring::RecoveredRing::memory_lost);
    }

    /// As `memory_lost`, where the directory was empty: a new server, perhaps of a new cluster.
    pub fn memory_new(&mut self) {
        self.rings.iter_mut().for_each(crate::core::ring::RecoveredRing::memory_new);
    }
}

fn ring_config(config: &ServerConfig, ring: RingId) -> RingConfig {
    let cluster = &config.cluster;
    let (members, observers) = cluster.ring(ring);
    let mut rings = RingConfig::new(ring, config.server, members);
    rings.observers = observers;
    rings.window = config.window;
    if cluster.servers().all(|server| server == config.server) {
        rings.max_skips = config.window;
        return rings;
    }
    rings.max_skips = cluster.max_skips;
    (rings.keep_instances, rings.keep_bytes) = cluster.keep;
    // A coordinator that misses decisions must find them with those who follow it.
    rings.keep_instances = rings.keep_instances.max(2 * config.window);
    rings.heartbeat_us = cluster.heartbeat_us;
    rings.election_us = cluster.election_us;
    rings.resend_us = cluster.resend_us;
    // Rings of one server must not stand in step.
    rings.seed = cluster.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(ring.0));
    rings
}

impl Server {
    /// Puts a server together from what recovery found, and replays the log.
    ///
    /// # Errors
    /// Log and snapshots do not fit together.
    pub fn recover(
        config: ServerConfig,
        recovered: Recovered,
        now: Now,
    ) -> Result<Server, ServerError> {
        let Recovered { partitions, rings: logs, totals } = recovered;
        let count = config.map.partitions().count();
        let mut rings = Vec::with_capacity(logs.len());
        let mut taken = Vec::with_capacity(logs.len());
        for mut log in logs {
            let ring = ring_config(&config, log.id());
            if ring.members == [config.server] {
                log.memory_whole();
            }
            taken.push(log.taken());
            rings.push(Ring::new(ring, log)?);
        }
        let attachments = Attachments::new(attach::others(&config.map, &partitions).into_iter());
        let mut server = Server {
            links: Links::new(&attachments, now),
            attachments,
            guests: Guests::default(),
            front_end: FrontEnd::new(config.front_end.clone(), count + 1, config.map.version()),
            began: false,
            demands: Demands::new(config.skip, count as u16),
            peers: Peers::new(&config, now),
            held: rings.iter().map(|_| VecDeque::new()).collect(),
            outgoing: (0..=count).map(|_| Outgoing::default()).collect(),
            intake: vec![Default::default(); rings.len()],
            touches: Touches::new(&config.front_end, now),
            transfer: Transfer::default(),
            rings,
            partitions,
            appended: VecDeque::new(),
            next_token: 1,
            batch: Vec::new(),
            batch_numbers: Vec::new(),
            effects: Vec::new(),
            durable_lsn: 0,
            next_reap_us: 0,
            cycle: Cycle::Idle,
            marks: VecDeque::from([Mark::default()]),
            floors: VecDeque::new(),
            totals,
            config,
        };
        if server.config.front_end.flags.skip_acl {
            server.partitions.iter_mut().for_each(Partition::skip_acl);
        }
        if !server.peers.alone() {
            let late_ms = server.touches.late_ms();
            server.front_end.share_sessions(late_ms);
        }
        server.replay(&taken, now)?;
        Ok(server)
    }

    /// `taken`: what the replay of the log has executed or queued is not delivered again.
    fn replay(&mut self, taken: &[(Instance, Slot)], now: Now) -> Result<(), ServerError> {
        for (at, (_, cursor)) in cursors(&self.partitions).into_iter().enumerate() {
            let (instance, position) = taken[at].max((cursor.instance, cursor.position));
            self.rings[at].start_at(instance, position)?;
            let mut effects = Vec::new();
            let ring_now = self.ring_now(now);
            self.rings[at].start(ring_now, &mut effects);
            self.ring_effects(at, effects)?;
        }
        self.execute(now)?;
        let sessions: Vec<_> = self.partitions.first().map_or_else(Vec::new, |partition| {
            let all = partition.sessions().iter();
            all.map(|(id, s)| (id, s.epoch, s.timeout_ms)).collect()
        });
        for (session, epoch, timeout_ms) in sessions {
            self.front_end.session_opened(session, epoch, timeout_ms, now);
        }
        self.next_reap_us = now.monotonic_us + self.config.reaper.interval_ms * 1000;
        self.began = true;
        let last = self.partitions.iter().map(|p| p.last_start(self.config.server)).max();
        self.front_end.begin(last.unwrap_or_default(), now);
        Ok(())
    }
}
