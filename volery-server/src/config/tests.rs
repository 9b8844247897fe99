//! Configurations as whole texts, with what is expected of them beside.

use super::*;

fn read(text: &str) -> Result<Loaded, String> {
    parse(Some(("zoo.cfg", text.as_bytes())), &Flags::default()).map_err(|error| error.to_string())
}

fn config(text: &str) -> Config {
    read(&format!("dataDir=/d\n{text}")).expect("a valid configuration").config
}

fn refusal(text: &str) -> String {
    match read(text) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error,
    }
}

#[test]
fn defaults_hold_without_a_file() {
    let loaded = parse(None, &Flags::default()).expect("defaults are valid");
    let config = loaded.config;
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(config.server_id, ServerId(1));
    assert_eq!(config.data_dir, Path::new("./volery-data"));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!((config.client.port, config.client.address.as_deref()), (2181, None));
    assert_eq!((config.client.max_per_address, config.client.max_connections), (60, 0));
    assert_eq!(config.client.listen_backlog, None);
    assert_eq!((config.min_session_timeout_ms, config.max_session_timeout_ms), (6000, 60000));
    assert_eq!(config.max_frame_bytes, 0xf_ffff);
    assert_eq!(config.durability, Durability::Sync);
    assert!(!config.linearizable_reads);
    assert_eq!(config.storage.preallocate_bytes, 64 << 20);
    assert_eq!(config.map, MapRules::default());
    assert_eq!(config.metrics, MetricsConfig { host: "0.0.0.0".to_owned(), port: 7000 });
    assert!(config.whitelist.allows(*b"srvr") && !config.whitelist.allows(*b"ruok"));
    assert_eq!(config.log, LogConfig { format: LogFormat::Text, level: "info".to_owned() });
}

#[test]
fn the_sample_of_zookeeper_is_read() {
    let text = "# The number of milliseconds of each tick\ntickTime=2000\ninitLimit=10\n\
                syncLimit=5\ndataDir=/var/lib/zookeeper\nclientPort=2182\n\
                4lw.commands.whitelist=ruok, srvr ,mntr\n";
    let loaded = read(text).expect("valid");
    assert_eq!(loaded.config.client.port, 2182);
    assert_eq!(loaded.config.min_session_timeout_ms, 4000);
    assert_eq!(loaded.config.max_session_timeout_ms, 40000);
    assert_eq!(loaded.config.whitelist.to_string(), "mntr,ruok,srvr");
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn everything_else_is_a_warning() {
    let text = "dataDir=data\nenforceQuota=true\nticktime=5\nfoo=\nsnapCount=1\nmaxCnxns=1\n\
                maxCnxns=2\n4lw.commands.whitelist=ruok,quak\nforceSync=no\n\
                autopurge.snapRetainCount=1\n";
    let loaded = read(text).expect("valid");
    assert_eq!(loaded.config.client.max_connections, 2);
    assert_eq!(loaded.config.durability, Durability::Async);
    assert_eq!(
        loaded.warnings,
        [
            "zoo.cfg:2: enforceQuota has no effect in Volery yet",
            "zoo.cfg:3: ticktime has no effect: did you mean tickTime?",
            "zoo.cfg:4: foo has no effect: neither ZooKeeper nor Volery knows it",
            "zoo.cfg:7: maxCnxns is set again, its value on zoo.cfg:6 is dropped",
            "zoo.cfg:1: dataDir=data is relative to the working directory; begin it with ./ if \
             that is meant",
            "zoo.cfg:9: forceSync=no: acknowledged writes are not synced to disk and are lost \
             when the machine fails",
            "zoo.cfg:8: quak is not a four-letter word of ZooKeeper",
            "zoo.cfg:5: snapCount=1 is below the least, 2 is taken",
            "zoo.cfg:10: autopurge.snapRetainCount=1 is below the least, 3 is taken",
        ]
    );
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    let table = [
        ("tickTime=2s", "zoo.cfg:2: tickTime=2s: a whole number from 1 to 107374182 is expected"),
        ("tickTime=", "zoo.cfg:2: tickTime=: a whole number from 1 to 107374182 is expected"),
        ("maxCnxns=-1", "zoo.cfg:2: maxCnxns=-1: a whole number, 0 or more is expected"),
        (
            "clientPort=65536",
            "zoo.cfg:2: clientPort=65536: a whole number from 0 to 65535 is expected",
        ),
        (
            "minSessionTimeout=70000",
            "zoo.cfg:2: minSessionTimeout=70000: must not be above maxSessionTimeout, \
             which is 60000",
        ),
        (
            "maxSessionTimeout=5000",
            "zoo.cfg:2: maxSessionTimeout=5000: must not be below minSessionTimeout, which is 6000",
        ),
        (
            "zookeeper.jute.maxbuffer=104857600",
            "zoo.cfg:2: zookeeper.jute.maxbuffer=104857600: a whole number from 1024 to \
             33554432 is expected",
        ),
        ("skipACL=true", "zoo.cfg:2: skipACL=true: yes or no is expected"),
        ("extendedTypesEnabled=1", "zoo.cfg:2: extendedTypesEnabled=1: true or false is expected"),
        ("reads=fast", "zoo.cfg:2: reads=fast: local or linearizable is expected"),
        ("durability=never", "zoo.cfg:2: durability=never: sync or async is expected"),
        ("dataLogDir=", "zoo.cfg:2: dataLogDir=: a path is expected"),
        (
            "DigestAuthenticationProvider.superDigest=secret",
            "zoo.cfg:2: DigestAuthenticationProvider.superDigest=(hidden): \
             user:base64(sha1(user:password)) is expected",
        ),
        ("a=\\u12", "zoo.cfg:2: malformed \\uXXXX: four hexadecimal digits are expected"),
        ("partitions=0", "zoo.cfg:2: partitions=0: a whole number from 1 to 512 is expected"),
        ("partition.spread=a/*", "zoo.cfg:2: partition.spread=a/*: \"a/*\": a path starts with /"),
        (
            "partition.5.prefixes=/a",
            "zoo.cfg:2: partition.5.prefixes=/a: N of partition.N.prefixes is from 1 to 4",
        ),
        (
            "partition.1.prefixes=/a\npartition.2.prefixes=/b,/a",
            "zoo.cfg:3: partition.2.prefixes=/b,/a: /a is given twice",
        ),
        (
            "server.1=a",
            "zoo.cfg:2: server.1=a: host:port:port is expected, an IPv6 host in brackets",
        ),
        ("server.255=a:1:2", "zoo.cfg:2: server.255=a:1:2: N of server.N is from 1 to 254"),
        (
            "clientPort=1\nserver.1=a:1:2;3",
            "zoo.cfg:2: clientPort=1: differs from the client port 3 of the server line",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(refusal(&format!("dataDir=/d\n{text}\n")), expected);
    }
    assert_eq!(
        refusal("tickTime=2000"),
        "zoo.cfg: dataDir is missing: the directory of the server's state"
    );
}

#[test]
fn one_server_line_is_standalone_and_gives_the_client_port() {
    let config = config("server.7=localhost:2888:3888;127.0.0.1:2191\n");
    assert_eq!(config.server_id, ServerId(7));
    assert_eq!(config.client.port, 2191);
    assert_eq!(config.client.address.as_deref(), Some("127.0.0.1"));
}

#[test]
fn flags_yield_to_the_file() {
    let flags = Flags {
        server_jvmflags: "-Xmx1g -Djute.maxbuffer=0x400000 -Dzookeeper.snapCount=10".to_owned(),
        jvmflags: "-Dzookeeper.snapCount=20 -Dzookeeper.globalOutstandingLimit=9 \
                   -Dzookeeper.DigestAuthenticationProvider.superDigest=super:x= \
                   -Dreadonlymode.enabled=true -Dznode.container.maxPerMinute=5"
            .to_owned(),
    };
    let text = b"dataDir=/d\nglobalOutstandingLimit=7\n";
    let loaded = parse(Some(("zoo.cfg", text)), &flags).expect("valid");
    let config = loaded.config;
    assert_eq!(config.max_frame_bytes, 4 << 20);
    assert_eq!(config.storage.snap_count, 20);
    assert_eq!(config.global_outstanding_limit, 7);
    assert_eq!(config.container.max_per_minute, 5);
    assert_eq!(config.auth.super_digest, Some(SuperDigest("super:x=".to_owned())));
    assert!(!format!("{config:?}").contains("super:x="));
    assert_eq!(loaded.warnings, ["JVMFLAGS: readonlymode.enabled has no effect in Volery yet"]);
    let wrong = Flags { jvmflags: "-Dzookeeper.snapCount=x".to_owned(), ..Flags::default() };
    let error = parse(None, &wrong).map(|_| ()).map_err(|error| error.to_string());
    let expected = "JVMFLAGS: zookeeper.snapCount=x: a whole number, 0 or more is expected";
    assert_eq!(error, Err(expected.to_owned()));
}

#[test]
fn map_rules_are_read() {
    let config = config(
        "partitions=8\npartition.spread=/*, /clickhouse/tables/*/*\n\
         partition.2.prefixes=/kafka,/hbase\npartition.3.prefixes=/solr\n",
    );
    assert_eq!(config.map.partitions, 8);
    assert_eq!(config.map.spread, ["/*", "/clickhouse/tables/*/*"]);
    let prefixes: Vec<_> =
        config.map.prefixes.iter().map(|(p, path)| (p.0, path.as_str())).collect();
    assert_eq!(prefixes, [(2, "/hbase"), (2, "/kafka"), (3, "/solr")]);
}

#[test]
fn conf_text_has_the_lines_of_zookeeper_first() {
    let config = config("partition.2.prefixes=/kafka,/hbase\nclientPortListenBacklog=9\n");
    let sizes = DirectorySizes { data_bytes: 11, log_bytes: 22 };
    assert_eq!(
        config.to_conf_text(sizes),
        "clientPort=2181\nsecureClientPort=-1\ndataDir=/d\ndataDirSize=11\ndataLogDir=/d\n\
         dataLogSize=22\ntickTime=3000\nmaxClientCnxns=60\nminSessionTimeout=6000\n\
         maxSessionTimeout=60000\nclientPortListenBacklog=9\nserverId=1\n\
         jute.maxbuffer=1048575\npartitions=4\npartition.spread=/*\n\
         partition.2.prefixes=/hbase,/kafka\nring.window=32\nskip.along=true\nskip.aheadUs=0\n\
         durability=sync\nreads=local\n"
    );
}

#[test]
fn my_id_is_read_from_the_data_directory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("zoo.cfg");
    std::fs::write(&file, format!("dataDir={}\n", dir.path().display())).expect("writable");
    let id = || load(Some(&file), &Flags::default()).map(|loaded| loaded.config.server_id);
    assert_eq!(id().ok(), Some(ServerId(1)));
    std::fs::write(dir.path().join("myid"), " 42\n").expect("writable");
    assert_eq!(id().ok(), Some(ServerId(42)));
    std::fs::write(dir.path().join("myid"), "255").expect("writable");
    let error = id().map_err(|error| error.to_string()).expect_err("refused");
    let expected = "myid: \"255\" is not a server id: a whole number from 1 to 254 is expected";
    assert!(error.ends_with(expected), "{error}");
    let absent = load(Some(Path::new("/nowhere/zoo.cfg")), &Flags::default());
    let error = absent.map(|_| ()).map_err(|error| error.to_string()).expect_err("refused");
    assert!(error.starts_with("cannot read /nowhere/zoo.cfg: "), "{error}");
}
