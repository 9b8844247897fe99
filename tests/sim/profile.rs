//! What kind of world a seed makes: partitions, map, policies, faults, load.
//! It holds no state of a run. Used by the world and by the tests that need a special world.

use std::collections::BTreeMap;
use std::sync::Arc;

use volery_proto::command::CommandFlags;
use volery_proto::ids::{PartitionId, RingId, ServerId};
use volery_server::core::front_end::FrontEndConfig;
use volery_server::core::merge::skip::SkipPolicy;
use volery_server::core::oracle::PartitionMap;
use volery_server::core::server::{ClusterConfig, ReaperConfig, ServerConfig};

use crate::prng::Prng;

/// A fault happens about so often, in microseconds; 0: never.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) crash_us: u64,
    pub(crate) connection_us: u64,
    pub(crate) clock_us: u64,
    pub(crate) slow_disk_us: u64,
    pub(crate) silent_us: u64,
    pub(crate) snapshot_permille: u64,
    pub(crate) cut_us: u64,
    /// A server's disk is emptied.
    pub(crate) wipe_us: u64,
    /// A server says what no server would.
    pub(crate) lie_us: u64,
}

/// The network between servers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Net {
    pub(crate) delay_us: u64,
    pub(crate) loss_permille: u64,
    pub(crate) double_permille: u64,
    /// A lane does not keep its order.
    pub(crate) reorders: bool,
}

/// Everything that is chosen before a history begins.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) partitions: u16,
    pub(crate) map: Arc<PartitionMap>,
    pub(crate) clients: usize,
    /// Requests of each client before the faults stop.
    pub(crate) requests: usize,
    /// Requests that a client sends without waiting for an answer.
    pub(crate) pipeline: usize,
    pub(crate) think_us: u64,
    pub(crate) network_us: u64,
    pub(crate) sync_us: u64,
    pub(crate) wake_us: u64,
    pub(crate) snapshot_us: u64,
    /// Of a thousand requests, how many are writes, and of those multis.
    pub(crate) writes: u64,
    pub(crate) multis: u64,
    pub(crate) watches: u64,
    pub(crate) faults: Faults,
    /// Whether the wall clock may go back (then only one ring's order is real time's).
    pub(crate) clock_back: bool,
    /// Wall clocks differ by so much at the start.
    pub(crate) skew_us: u64,
    /// Session time-outs that clients ask for, least and most.
    pub(crate) timeouts_ms: (u64, u64),
    pub(crate) net: Net,
    /// A ring of which nothing but signs of life gets from server to server, from when on and
    /// until when: its partition is dead and the others are not.
    pub(crate) mute: Option<(RingId, u64, u64)>,
    /// Requests keep to znodes that are there, and to few kinds.
    pub(crate) steady: bool,
    /// What all servers have in common.
    pub(crate) server: ServerConfig,
}

fn map(prng: &mut Prng, partitions: u16) -> PartitionMap {
    let spread = |rules: &[&str]| rules.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();
    let at = |p: u16| PartitionId((p - 1) % partitions + 1);
    let (spread, prefixes) = match prng.below(5) {
        0 => (spread(&["/*"]), Vec::new()),
        1 => (spread(&["/a/*", "/b/*"]), Vec::new()),
        2 => (spread(&["/*", "/a/*"]), Vec::new()),
        3 => (Vec::new(), vec![(at(2), "/a".into()), (at(3), "/b".into()), (at(4), "/a/x".into())]),
        _ => (spread(&["/c/*"]), vec![(at(3), "/a".into()), (at(2), "/b/x".into())]),
    };
    PartitionMap::new(1, partitions, &spread, &prefixes)
}

fn front_end(prng: &mut Prng) -> FrontEndConfig {
    FrontEndConfig {
        server: ServerId(1),
        min_timeout_ms: 100,
        max_timeout_ms: 600,
        tick_ms: *prng.pick(&[10, 50]),
        digest_enabled: true,
        super_digest: None,
        flags: CommandFlags { extended_types: true, skip_acl: false },
        linearizable_reads: false,
        stale_us: 1 << 40,
        max_unsent: *prng.pick(&[300, 1 << 20]),
        max_events: 1000,
    }
}

impl Profile {
    /// The world of a seed.
    pub(crate) fn of(prng: &mut Prng) -> Profile {
        let partitions = prng.range(1, 8) as u16;
        let map = Arc::new(map(prng, partitions));
        let back = prng.permille(300);
        let rare =
            |prng: &mut Prng, permille, every| if prng.permille(permille) { every } else { 0 };
        let faults = Faults {
            crash_us: rare(prng, 600, 150_000),
            connection_us: rare(prng, 700, 60_000),
            clock_us: rare(prng, 500, 50_000),
            slow_disk_us: rare(prng, 300, 100_000),
            silent_us: rare(prng, 400, 150_000),
            snapshot_permille: *prng.pick(&[0, 100]),
            cut_us: 0,
            wipe_us: 0,
            lie_us: 0,
        };
        Profile {
            partitions,
            clients: prng.range(2, 5) as usize,
            requests: prng.range(20, 60) as usize,
            pipeline: *prng.pick(&[1, 3, 8]),
            think_us: *prng.pick(&[200, 3_000, 20_000]),
            network_us: *prng.pick(&[20, 500, 5_000]),
            sync_us: *prng.pick(&[50, 1_000, 10_000]),
            wake_us: *prng.pick(&[1, 50, 2_000]),
            snapshot_us: *prng.pick(&[100, 20_000]),
            writes: *prng.pick(&[300, 600, 800]),
            multis: *prng.pick(&[100, 400]),
            watches: *prng.pick(&[0, 500]),
            faults,
            clock_back: back,
            skew_us: 1_000_000,
            timeouts_ms: (50, 800),
            net: Net::default(),
            mute: None,
            steady: false,
            server: ServerConfig {
                server: ServerId(1),
                map: map.clone(),
                front_end: front_end(prng),
                skip: SkipPolicy {
                    together: prng.permille(700),
                    global_ahead: *prng.pick(&[0, 0, 2_000]),
                },
                window: *prng.pick(&[1, 2, 64]),
                hash_seed: prng.next(),
                snapshot_every: *prng.pick(&[5, 30, 1_000]),
                snapshots_kept: *prng.pick(&[1, 3]),
                reaper: ReaperConfig {
                    interval_ms: *prng.pick(&[0, 100]),
                    max: 5,
                    never_used_ms: *prng.pick(&[0, 50]),
                },
                cluster: ClusterConfig::alone(ServerId(1)),
            },
            map,
        }
    }

    /// The world of a seed with several servers.
    pub(crate) fn of_cluster(prng: &mut Prng) -> Profile {
        let mut profile = Profile::of(prng);
        let partitions = prng.range(1, 4) as u16;
        let map = Arc::new(map(prng, partitions));
        let servers = *prng.pick(&[3, 3, 3, 4, 5]);
        let rare =
            |prng: &mut Prng, permille, every| if prng.permille(permille) { every } else { 0 };
        profile.partitions = partitions;
        profile.map = map.clone();
        profile.network_us = *prng.pick(&[20, 500]);
        profile.wake_us = *prng.pick(&[1, 50, 500]);
        profile.think_us = *prng.pick(&[3_000, 20_000, 60_000]);
        profile.skew_us = *prng.pick(&[10, 5_000, 1_000_000]);
        profile.timeouts_ms = (800, 3_000);
        profile.net = Net {
            delay_us: *prng.pick(&[50, 1_000, 5_000]),
            loss_permille: *prng.pick(&[0, 0, 10, 50]),
            double_permille: *prng.pick(&[0, 0, 50]),
            reorders: prng.permille(300),
        };
        let faults = &mut profile.faults;
        faults.crash_us = rare(prng, 600, 600_000);
        faults.cut_us = rare(prng, 600, 600_000);
        faults.wipe_us = rare(prng, 200, 2_000_000);
        faults.lie_us = rare(prng, 200, 500_000);
        faults.clock_us = rare(prng, 400, 200_000);
        faults.silent_us = rare(prng, 300, 600_000);
        let server = &mut profile.server;
        server.map = map;
        server.window = *prng.pick(&[1, 4, 64]);
        server.front_end.min_timeout_ms = 1_000;
        server.front_end.max_timeout_ms = 3_000;
        server.cluster = ClusterConfig {
            heartbeat_us: 20_000,
            suspect_us: 100_000,
            election_us: 150_000,
            resend_us: 60_000,
            demand_us: *prng.pick(&[1_000, 10_000]),
            max_skips: *prng.pick(&[1, 8]),
            keep: (*prng.pick(&[4, 50, 8192]), 1 << 20),
            ..ClusterConfig::of((1..=servers).map(ServerId).collect())
        };
        profile
    }

    /// One partition of several is dead for seconds, and nothing else fails but connections.
    pub(crate) fn kill_a_partition(&mut self) {
        // Those that lie on some of the servers stay as they are.
        if self.server.cluster.placement.is_empty() {
            let map = Arc::new(PartitionMap::new(1, 3, &["/*".to_owned()], &[]));
            (self.partitions, self.map, self.server.map) = (3, map.clone(), map);
        }
        self.faults = Faults { connection_us: 300_000, ..Faults::default() };
        self.net.loss_permille = 0;
        self.net.delay_us = self.net.delay_us.min(1_000);
        self.sync_us = self.sync_us.min(1_000);
        (self.skew_us, self.clock_back) = (10, false);
        (self.requests, self.think_us, self.watches, self.steady) = (200, 60_000, 500, true);
        self.server.front_end.stale_us = 300_000;
        let ring = RingId(1 + (self.server.hash_seed % u64::from(self.partitions)) as u16);
        self.mute = Some((ring, 1_000_000, 5_000_000));
    }

    /// Some worlds have `reads=linearizable`: by a number that each draws anyway.
    pub(crate) fn choose_reads(&mut self) {
        self.server.front_end.linearizable_reads = self.server.hash_seed.is_multiple_of(4);
    }

    /// The world of a seed with several servers, each of which has some of the partitions.
    pub(crate) fn of_placed(prng: &mut Prng) -> Profile {
        let mut profile = Profile::of_cluster(prng);
        let servers = prng.range(3, 7) as u8;
        let partitions = prng.range(2, 6) as u16;
        let map = Arc::new(map(prng, partitions));
        let replicas = *prng.pick(&[1, 2, 3, 3, 3]);
        let mut placement: BTreeMap<PartitionId, Vec<ServerId>> = BTreeMap::new();
        for partition in (1..=partitions).map(PartitionId) {
            let from = prng.below(u64::from(servers));
            let step = prng.range(1, 2);
            let place = |i: u64| ServerId(((from + i * step) % u64::from(servers)) as u8 + 1);
            let mut places: Vec<ServerId> = (0..replicas).map(place).collect();
            places.sort_unstable();
            places.dedup();
            placement.insert(partition, places);
        }
        // Nobody is without.
        for server in (1..=servers).map(ServerId) {
            if placement.values().all(|places| !places.contains(&server)) {
                let partition = PartitionId(prng.range(1, u64::from(partitions)) as u16);
                let places = placement.entry(partition).or_default();
                places.push(server);
                places.sort_unstable();
            }
        }
        if placement.values().any(|places| places.len() < 3) {
            // Without one of two nothing is decided, not even what the other has under way.
            profile.faults.wipe_us = 0;
        }
        let voters = *prng.pick(&[3, servers.min(5)]);
        let first = prng.below(u64::from(servers)) as u8;
        let mut global: Vec<ServerId> =
            (0..voters).map(|i| ServerId((first + i) % servers + 1)).collect();
        global.sort_unstable();
        profile.partitions = partitions;
        profile.map = map.clone();
        profile.server.map = map;
        let cluster = &mut profile.server.cluster;
        cluster.members = (1..=servers).map(ServerId).collect();
        (cluster.placement, cluster.global) = (placement, Some(global));
        profile
    }

    /// Whether there is one server.
    pub(crate) fn alone(&self) -> bool {
        self.server.cluster.members.len() == 1
    }

    /// The settings of every server.
    pub(crate) fn servers(&self) -> Vec<ServerConfig> {
        let of = |id: &ServerId| {
            let mut config = self.server.clone();
            (config.server, config.front_end.server) = (*id, *id);
            config
        };
        self.server.cluster.members.iter().map(of).collect()
    }
}
