//! The words' texts, compared with what ZooKeeper 3.8 was seen to answer for the same state: one
//! client that made /a and two ephemerals, and the connection that asks.

use super::*;
use crate::admin::counters::Spread;
use crate::admin::status::{
    ConnectionSession, Ensemble, PartitionStats, RingStats, ServerStats, SessionStatus,
    SummaryStatus,
};
use crate::config::{DirectorySizes, Flags, parse};
use volery_proto::ids::{Instance, PartitionId, RingId, ServerId, Slot, Zxid};

const SESSION: SessionId = SessionId(0x0100_0014_e3fe_0000);

fn config(whitelist: &str) -> Config {
    let text = format!("dataDir=/d\ntickTime=2000\n4lw.commands.whitelist={whitelist}\n");
    parse(Some(("zoo.cfg", text.as_bytes())), &Flags::default()).expect("valid").config
}

fn connection(port: u16, expires_unix_ms: u64) -> ConnectionStatus {
    ConnectionStatus {
        remote: ([127, 0, 0, 1], port).into(),
        interest_ops: 0,
        queued: 0,
        received: 1,
        sent: 0,
        expires_unix_ms,
        session: None,
    }
}

fn client() -> ConnectionStatus {
    let session = ConnectionSession {
        id: SESSION,
        last_op: Some(OpCode::AddWatch),
        established_unix_ms: 1_795_386_961_578,
        timeout_ms: 30000,
        last_cxid: 7,
        last_zxid: 4,
        last_response_ms: 1_449_155,
        last_latency_us: 1200,
        latency_us: Spread { count: 8, sum: 21000, min: 0, max: 9000 },
    };
    ConnectionStatus {
        interest_ops: 1,
        received: 8,
        sent: 8,
        session: Some(session),
        ..connection(55438, 1_795_386_991_000)
    }
}

fn status() -> ServerStatus {
    let paths = |paths: &[&str]| paths.iter().map(ToString::to_string).collect();
    ServerStatus {
        stats: ServerStats {
            mode: Mode::Standalone,
            latency_us: Spread { count: 8, sum: 21000, min: 0, max: 9000 },
            received: 12,
            sent: 11,
            num_alive_connections: 2,
            last_zxid: Zxid(4),
            znode_count: 8,
            ..ServerStats::default()
        },
        connections: vec![client(), connection(45066, 1_795_386_981_000)],
        sessions: vec![SessionStatus { id: SESSION, expires_unix_ms: 1_795_386_991_000 }],
        ephemerals: [(SESSION, paths(&["/e1", "/e2"]))].into(),
        watches: [("/a".to_owned(), [SESSION].into()), ("/e1".to_owned(), [SESSION].into())].into(),
        directories: DirectorySizes { data_bytes: 1, log_bytes: 67_109_337 },
        ..ServerStatus::default()
    }
}

fn text(word: &[u8; 4], status: &ServerStatus) -> String {
    answer(*word, &config("*"), &Environment::default(), status).text
}

const SERVER: &str = "Latency min/avg/max: 0/2.625/9\nReceived: 12\nSent: 11\nConnections: 2\n\
                      Outstanding: 0\nZxid: 0x4\nMode: standalone\nNode count: 8\n";

#[test]
fn server_and_clients() {
    let head = format!("Zookeeper version: {FULL_VERSION}\n");
    assert_eq!(text(b"srvr", &status()), format!("{head}{SERVER}"));
    assert_eq!(
        text(b"stat", &status()),
        format!(
            "{head}Clients:\n /127.0.0.1:55438[1](queued=0,recved=8,sent=8)\n \
             /127.0.0.1:45066[0](queued=0,recved=1,sent=0)\n\n{SERVER}"
        )
    );
}

#[test]
fn connections_in_full() {
    assert_eq!(
        text(b"cons", &status()),
        " /127.0.0.1:55438[1](queued=0,recved=8,sent=8,sid=0x1000014e3fe0000,lop=ADDW,\
         est=1795386961578,to=30000,lcxid=0x7,lzxid=0x4,lresp=1449155,llat=1,minlat=0,avglat=2,\
         maxlat=9)\n /127.0.0.1:45066[0](queued=0,recved=1,sent=0)\n\n"
    );
}

#[test]
fn connections_after_a_reset() {
    let mut client = client();
    if let Some(session) = &mut client.session {
        session.last_op = None;
        (session.last_cxid, session.last_zxid) = (-1, -1);
        (session.last_response_ms, session.last_latency_us) = (0, 0);
        session.latency_us = Spread::default();
    }
    (client.received, client.sent) = (0, 0);
    let status = ServerStatus { connections: vec![client], ..status() };
    assert_eq!(
        text(b"cons", &status),
        " /127.0.0.1:55438[1](queued=0,recved=0,sent=0,sid=0x1000014e3fe0000,lop=NA,\
         est=1795386961578,to=30000,lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,\
         maxlat=0)\n\n"
    );
}

#[test]
fn dump_of_sessions_ephemerals_and_connections() {
    assert_eq!(
        text(b"dump", &status()),
        "SessionTracker dump:\nSession Sets (1)/(1):\n\
         1 expire at Sun Nov 22 22:36:32 UTC 2026:\n\t0x1000014e3fe0000\n\
         ephemeral nodes dump:\nSessions with Ephemerals (1):\n\
         0x1000014e3fe0000:\n\t/e1\n\t/e2\n\
         Connections dump:\nConnections Sets (2)/(2):\n\
         1 expire at Sun Nov 22 22:36:22 UTC 2026:\n\
         \tip: /127.0.0.1:45066 sessionId: 0x0\n\
         1 expire at Sun Nov 22 22:36:32 UTC 2026:\n\
         \tip: /127.0.0.1:55438 sessionId: 0x1000014e3fe0000\n"
    );
}

#[test]
fn watches() {
    let status = status();
    assert_eq!(text(b"wchs", &status), "1 connections watching 2 paths\nTotal watches:2\n");
    assert_eq!(text(b"wchc", &status), "0x1000014e3fe0000\n\t/a\n\t/e1\n\n");
    let by_path = "/a\n\t0x1000014e3fe0000\n/e1\n\t0x1000014e3fe0000\n\n";
    assert_eq!(text(b"wchp", &status), by_path);
    let none = ServerStatus { watches: BTreeMap::new(), ..status };
    assert_eq!(text(b"wchc", &none), "\n");
    assert_eq!(text(b"wchp", &none), "\n");
}

#[test]
fn short_words() {
    let status = status();
    let table: [(&[u8; 4], &str); 10] = [
        (b"ruok", "imok"),
        (b"isro", "rw"),
        (b"srst", "Server stats reset.\n"),
        (b"crst", "Connection stats reset.\n"),
        (b"dirs", "datadir_size: 1\nlogdir_size: 67109337\n"),
        (b"gtmk", "306"),
        (b"hash", ""),
        (b"lead", ""),
        (b"sysp", ""),
        (b"lsnp", ""),
    ];
    for (word, expected) in table {
        assert_eq!(text(word, &status), expected);
    }
    let reset = |word| answer(word, &config("*"), &Environment::default(), &status).reset;
    assert_eq!(reset(*b"srst"), Some(Reset::Server));
    assert_eq!(reset(*b"crst"), Some(Reset::Connections));
    assert_eq!(reset(*b"srvr"), None);
    assert!(
        text(b"conf", &status).contains("\ndataDirSize=1\ndataLogDir=/d\ndataLogSize=67109337\n")
    );
    let environment =
        Environment(vec![("zookeeper.version", "3.9.4-x".to_owned()), ("a", "b".to_owned())]);
    let envi = answer(*b"envi", &config("*"), &environment, &status).text;
    assert_eq!(envi, "Environment:\nzookeeper.version=3.9.4-x\na=b\n");
}

#[test]
fn words_outside_the_whitelist_are_refused() {
    let config = config("srvr,crst");
    let refused = answer(*b"srst", &config, &Environment::default(), &status());
    let text = "srst is not executed because it is not in the whitelist.\n".to_owned();
    assert_eq!(refused, Answer { text, reset: None });
    let allowed = answer(*b"crst", &config, &Environment::default(), &status());
    assert_eq!(allowed.reset, Some(Reset::Connections));
}

#[test]
fn a_server_that_does_not_serve_says_so() {
    let status = ServerStatus::default();
    let refusal = "This ZooKeeper instance is not currently serving requests\n";
    for word in [b"srvr", b"stat", b"cons", b"mntr", b"conf", b"dump", b"wchs", b"dirs", b"srst"] {
        assert_eq!(text(word, &status), refusal);
    }
    assert_eq!(answer(*b"srst", &config("*"), &Environment::default(), &status).reset, None);
    assert_eq!(text(b"ruok", &status), "imok");
    assert_eq!(text(b"isro", &status), "null");
    assert!(text(b"envi", &status).starts_with("Environment:\n"));
}

#[test]
fn monitor_lists_zookeepers_keys_then_volerys() {
    let mut status = status();
    status.counters = vec![("volery_skips", 3), ("bytes_received_count", 356)];
    status.summaries = vec![
        SummaryStatus {
            name: "updatelatency",
            values: Spread { count: 4, sum: 17000, min: 1000, max: 9000 },
            unit: 1000,
            quantiles: Some([4.2, 8.6, 9.0, 9.0]),
        },
        SummaryStatus { name: "fsynctime", values: Spread::default(), unit: 1000, quantiles: None },
    ];
    status.stats.partitions = vec![PartitionStats {
        partition: PartitionId(1),
        executed: Zxid(0x41),
        znode_count: 8,
        waiting_commands: 0,
        outbox_bytes: 300,
    }];
    status.stats.rings = vec![RingStats {
        ring: RingId(1),
        decided: Instance(9),
        position: Slot(77),
        in_flight: 2,
        coordinator: Some(ServerId(1)),
    }];
    let text = text(b"mntr", &status);
    let expected_head = format!(
        "zk_version\t{FULL_VERSION}\nzk_server_state\tstandalone\nzk_avg_latency\t2.625\n\
         zk_max_latency\t9\nzk_min_latency\t0\nzk_packets_received\t12\nzk_packets_sent\t11\n\
         zk_num_alive_connections\t2\nzk_outstanding_requests\t0\nzk_znode_count\t8\n"
    );
    assert!(text.starts_with(&expected_head), "{text}");
    let expected_tail = "zk_bytes_received_count\t356\n\
        zk_avg_updatelatency\t4.25\nzk_min_updatelatency\t1\nzk_max_updatelatency\t9\n\
        zk_cnt_updatelatency\t4\nzk_sum_updatelatency\t17\nzk_p50_updatelatency\t4\n\
        zk_p95_updatelatency\t9\nzk_p99_updatelatency\t9\nzk_p999_updatelatency\t9\n\
        zk_avg_fsynctime\t0.0\nzk_min_fsynctime\t0\nzk_max_fsynctime\t0\nzk_cnt_fsynctime\t0\n\
        zk_sum_fsynctime\t0\nzk_volery_skips\t3\nzk_volery_partitions\t1\n\
        zk_volery_partition_1_executed_zxid\t65\nzk_volery_partition_1_znode_count\t8\n\
        zk_volery_partition_1_waiting_commands\t0\nzk_volery_partition_1_outbox_bytes\t300\n\
        zk_volery_ring_1_decided_instance\t9\nzk_volery_ring_1_position_slot\t77\n\
        zk_volery_ring_1_in_flight\t2\nzk_volery_ring_1_coordinator\t1\n";
    assert!(text.ends_with(expected_tail), "{text}");
}

#[test]
fn monitor_of_a_cluster_has_the_keys_that_alarms_are_set_on() {
    let mut status = status();
    status.stats.ensemble = Some(Ensemble { quorum_size: 3, followers: 2, observers: 1 });
    let of = |mode, status: &mut ServerStatus| {
        status.stats.mode = mode;
        text(b"mntr", status)
    };
    let leader = of(Mode::Leader, &mut status);
    for line in [
        "zk_server_state\tleader\nzk_peer_state\tleading - broadcast\nzk_quorum_size\t3\n",
        "zk_learners\t3\nzk_synced_followers\t2\nzk_synced_observers\t1\n",
    ] {
        assert!(leader.contains(line), "{leader}");
    }
    let follower = of(Mode::Follower, &mut status);
    assert!(follower.contains("zk_peer_state\tfollowing - broadcast\nzk_quorum_size\t3\n"));
    assert!(!follower.contains("synced"), "{follower}");
}

#[test]
fn needs_are_asked_for_only_where_used() {
    assert_eq!(needs(*b"ruok"), Needs::default());
    assert_eq!(needs(*b"srvr"), Needs::default());
    assert_eq!(needs(*b"stat"), Needs { connections: true, ..Needs::default() });
    assert_eq!(needs(*b"wchs"), Needs { watches: true, ..Needs::default() });
    assert_eq!(needs(*b"mntr"), Needs { metrics: true, ..Needs::default() });
}
