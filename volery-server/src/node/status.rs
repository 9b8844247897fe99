//! From the machine's state to the plain facts that words and metrics are made of.
//! It formats nothing. Runs on the drive thread, only when somebody asks.

use tokio::sync::oneshot;
use volery_proto::ids::{ServerId, SessionId, Slot, Zxid};
use volery_proto::zk::OpCode;

use crate::admin::counters::Spread;
use crate::admin::status::{
    ConnectionSession, ConnectionStatus, Ensemble, Mode, Needs, PartitionStats, RingStats,
    ServerStats, ServerStatus, SessionStatus,
};
use crate::core::front_end::{ConnectionStats, ConnectionView};
use crate::core::server::{Membership, Server};
use crate::core::types::{ConnId, Now};

/// A question.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) needs: Needs,
    /// The connection on which it came as a four-letter word.
    pub(super) word: Option<ConnId>,
    pub(super) reply: oneshot::Sender<ServerStatus>,
}

impl Asked {
    /// Answers it; whoever asked may have gone.
    pub(super) fn answer(self, server: &Server, connected: &[ServerId], now: Now) {
        let mut status = status(server, self.needs, now);
        status.stats.connected_peers = connected.len() as u64;
        status.stats.ensemble = ensemble(server, connected);
        let _ = self.reply.send(status);
    }
}

fn spread(stats: &ConnectionStats) -> Spread {
    Spread { count: stats.count, sum: stats.sum_us, min: stats.min_us, max: stats.max_us }
}

fn status(server: &Server, needs: Needs, now: Now) -> ServerStatus {
    let mut status = ServerStatus { stats: stats(server, now), ..ServerStatus::default() };
    if needs.connections {
        status.connections =
            server.front_end().connections().map(|c| connection(&c, now)).collect();
    }
    if needs.sessions {
        let unix_ms = now.unix_us / 1000;
        for (deadline, sessions) in server.front_end().expiry_buckets() {
            let left = deadline.saturating_sub(now.monotonic_ms());
            let expires_unix_ms = unix_ms + left;
            status
                .sessions
                .extend(sessions.into_iter().map(|id| SessionStatus { id, expires_unix_ms }));
        }
        for partition in server.partitions() {
            let tree = partition.tree();
            for session in tree.sessions_with_ephemerals() {
                let paths = tree.ephemerals(session).into_iter().map(|path| path.to_string());
                status.ephemerals.entry(SessionId(session)).or_default().extend(paths);
            }
        }
    }
    if needs.watches {
        let sessions: std::collections::BTreeMap<_, _> =
            server.front_end().connections().map(|c| (c.conn, c.session)).collect();
        for partition in server.partitions() {
            for (path, connections) in partition.watches().by_path() {
                // Those of other servers' clients are told there.
                let watchers = connections.iter().filter_map(|c| sessions.get(c).copied());
                let watchers: Vec<SessionId> = watchers.collect();
                if !watchers.is_empty() {
                    status.watches.entry(path.to_string()).or_default().extend(watchers);
                }
            }
        }
    }
    status
}

fn ensemble(server: &Server, connected: &[ServerId]) -> Option<Ensemble> {
    let voters = server.voters();
    let followers = connected.iter().filter(|id| voters.contains(id)).count();
    (server.membership() != Membership::Alone).then_some(Ensemble {
        quorum_size: voters.len() as u64,
        followers: followers as u64,
        observers: (connected.len() - followers) as u64,
    })
}

fn mode(server: &Server) -> Mode {
    let leads = server.rings().next().is_some_and(|(_, global)| global.is_coordinator());
    match server.membership() {
        _ if !server.serving() => Mode::NotServing,
        Membership::Alone => Mode::Standalone,
        Membership::Observer => Mode::Observer,
        Membership::Member if leads => Mode::Leader,
        Membership::Member => Mode::Follower,
    }
}

fn stats(server: &Server, now: Now) -> ServerStats {
    let counters = server.front_end().counters();
    let partitions = server.partitions();
    let sum = |of: &dyn Fn(&crate::core::executor::Partition) -> usize| {
        partitions.iter().map(of).sum::<usize>() as u64
    };
    ServerStats {
        mode: mode(server),
        latency_us: spread(&counters.latency),
        received: counters.received,
        sent: counters.sent,
        num_alive_connections: server.front_end().connection_count() as u64,
        outstanding: counters.outstanding,
        last_zxid: server.position(),
        // ZooKeeper keeps the root under two keys, and counts both.
        znode_count: sum(&|p| p.tree().node_count()) + 1,
        watch_count: sum(&|p| p.watches().watch_count()),
        ephemerals_count: sum(&|p| p.tree().ephemerals_count()),
        approximate_data_size: sum(&|p| p.tree().data_size()),
        global_sessions: partitions.first().map_or(0, |p| p.sessions().len() as u64),
        uptime_ms: now.monotonic_ms(),
        auth_failed_count: server.front_end().totals().auth_failures,
        last_client_response_size: counters.responses.last,
        min_client_response_size: counters.responses.min,
        max_client_response_size: counters.responses.max,
        partitions: partitions
            .iter()
            .map(|p| PartitionStats {
                partition: p.id(),
                executed: p.position(),
                znode_count: p.tree().node_count() as u64,
                waiting_commands: p.set_aside() as u64,
                outbox_bytes: p.outbox_bytes() as u64,
            })
            .collect(),
        rings: server
            .rings()
            .map(|(id, ring)| RingStats {
                ring: id,
                decided: ring.cursor().0,
                position: Slot(ring.position().0),
                in_flight: ring.in_flight() as u64,
                coordinator: ring.is_coordinator().then_some(server.id()),
            })
            .collect(),
        ..ServerStats::default()
    }
}

fn connection(view: &ConnectionView, now: Now) -> ConnectionStatus {
    let stats = &view.stats;
    let session = (view.session != SessionId(0)).then(|| ConnectionSession {
        id: view.session,
        last_op: stats.last_opcode.and_then(OpCode::from_i32),
        established_unix_ms: view.established_unix_ms as u64,
        timeout_ms: view.timeout_ms as i32,
        last_cxid: stats.last_xid,
        last_zxid: if stats.last_zxid == Zxid::ZERO { -1 } else { stats.last_zxid.as_i64() },
        last_response_ms: stats.last_reply_us / 1000,
        last_latency_us: stats.last_us,
        latency_us: spread(stats),
    });
    ConnectionStatus {
        remote: view.peer,
        interest_ops: u8::from(session.is_some()),
        queued: view.queued as u64,
        received: stats.received,
        sent: stats.sent,
        expires_unix_ms: now.unix_us / 1000 + u64::from(view.timeout_ms),
        session,
    }
}
