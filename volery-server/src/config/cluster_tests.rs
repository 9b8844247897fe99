//! Configurations of clusters as whole texts, with the files beside them made up.

use std::io::ErrorKind;

use volery_proto::ids::{PartitionId, RingId};

use super::*;

/// The files of these tests: zoo.cfg, `myid` in `/d`, and others.
fn read_with(text: &str, files: &[(&str, &str)]) -> Result<Loaded, String> {
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| ErrorKind::NotFound.into())
    };
    let text = format!("dataDir=/d\n{text}");
    read::read(Some(("zoo.cfg", text.as_bytes())), &Flags::default(), &read)
        .map_err(|error| error.to_string())
}

/// As server 2.
fn read(text: &str) -> Result<Loaded, String> {
    read_with(text, &[("/d/myid", "2\n")])
}

fn cluster(text: &str) -> Cluster {
    read(text).expect("valid").config.cluster.expect("several servers")
}

fn refusal(text: &str) -> String {
    read(text).map_or_else(|error| error, |_| "accepted".to_owned())
}

const THREE: &str = "server.1=zoo1:2888:3888;2181\nserver.2=zoo2:2888:3888;2182\n\
                     server.3=zoo3:2888:3888;2183\n";

fn ids(ids: &[u8]) -> Vec<ServerId> {
    ids.iter().copied().map(ServerId).collect()
}

#[test]
fn the_ensemble_of_zookeepers_guide_is_read() {
    let text = format!("tickTime=2000\ninitLimit=5\nsyncLimit=2\n{THREE}");
    let loaded = read(&text).expect("valid");
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = loaded.config;
    assert_eq!((config.server_id, config.client.port), (ServerId(2), 2182));
    let cluster = config.cluster.as_ref().expect("three servers");
    assert_eq!(cluster.servers[&ServerId(3)].peer_address(), "zoo3:2888");
    assert_eq!((cluster.init_limit, cluster.sync_limit), (5, 2));
    assert_eq!(cluster.placement.len(), 4);
    assert!(cluster.placement.values().all(|hosts| *hosts == ids(&[1, 2, 3])));
    assert_eq!(cluster.acceptors(RingId::GLOBAL), ids(&[1, 2, 3]));
    assert_eq!(cluster.acceptors(RingId(4)), ids(&[1, 2, 3]));
    assert_eq!(cluster.acceptors(RingId(5)), ids(&[]));
    assert_eq!((cluster.listen_on_all, cluster.tls.is_none()), (false, true));
    let conf = config.to_conf_text(DirectorySizes::default());
    assert!(
        conf.contains(
            "serverId=2\ninitLimit=5\nsyncLimit=2\nelectionAlg=3\nelectionPort=3888\n\
             quorumPort=2888\npeerType=0\nmembership: \n\
             server.1=zoo1:2888:3888:participant;0.0.0.0:2181\n"
        ),
        "{conf}"
    );
}

#[test]
fn several_lines_need_a_myid_among_them() {
    let missing = "/d/myid is missing: with several server lines it says which one is this \
                   server's. Write the N of its server.N into it; there are 1, 2, 3";
    assert_eq!(read_with(THREE, &[]).map(|_| ()), Err(missing.to_owned()));
    let strange = "/d/myid: this is server 9, but there are server lines for 1, 2, 3 only";
    assert_eq!(read_with(THREE, &[("/d/myid", "9")]).map(|_| ()), Err(strange.to_owned()));
    // One line is a server on its own, whatever its number.
    let alone = read_with("server.1=a:1:2", &[("/d/myid", "9")]).expect("valid").config;
    assert_eq!((alone.server_id, alone.cluster), (ServerId(9), None));
}

#[test]
fn partitions_are_placed_and_observers_do_not_vote() {
    let six = "server.1=a:1:9\nserver.2=b:1:9\nserver.3=c:1:9\nserver.4=d:1:9\nserver.5=e:1:9\n\
               server.6=f:1:9\nserver.7=g:1:9:observer\n";
    let placed = cluster(&format!(
        "partitions=2\npartition.1.servers=3, 1,2\npartition.2.servers=4,5,7\n{six}"
    ));
    assert_eq!(placed.placement[&PartitionId(1)], ids(&[1, 2, 3]));
    assert_eq!(placed.placement[&PartitionId(2)], ids(&[4, 5, 7]));
    assert_eq!(placed.acceptors(RingId(2)), ids(&[4, 5]));
    assert_eq!(placed.acceptors(RingId::GLOBAL), ids(&[1, 2, 3, 4, 5]));
    assert_eq!(
        placed.layout(),
        "ring.0.servers=1,2,3,4,5\npartition.1.servers=1,2,3\npartition.2.servers=4,5,7\n\
         observers=7\n"
    );
    let chosen = cluster(&format!("ring.0.servers=6,2,4\n{six}"));
    assert_eq!(chosen.acceptors(RingId::GLOBAL), ids(&[2, 4, 6]));
    assert_eq!(chosen.acceptors(RingId(1)), ids(&[1, 2, 3, 4, 5, 6]));
    let warnings = read(six).expect("valid").warnings;
    assert_eq!(warnings, ["zoo.cfg:3: 6 voting servers survive no more than 5 do"]);
}

#[test]
fn what_cannot_work_is_refused_with_its_place() {
    let known = "is none of the servers, which are 1, 2, 3";
    let table = [
        ("partition.1.servers=", "at least one server is expected".to_owned()),
        ("partition.1.servers=1,4", format!("4 {known}")),
        ("partition.1.servers=1,x", format!("x {known}")),
        ("partition.1.servers=1,2,1", "server 1 is there twice".to_owned()),
        ("partition.9.servers=1", "N of partition.N.servers is from 1 to 4".to_owned()),
        ("ring.0.servers=7", format!("7 {known}")),
        ("server.4=ZOO1:2888:1", "server 1 has the same host and first port".to_owned()),
        ("server.255=x:2888:1", "N of server.N is from 1 to 254".to_owned()),
        ("clientPort=1", "differs from the client port 2182 of the server line".to_owned()),
    ];
    for (line, problem) in table {
        let expected = format!("{line}: {problem}");
        let found = refusal(&format!("{line}\n{THREE}"));
        assert!(found.ends_with(&expected), "{found}\n{expected}");
    }
    let twice = refusal(&format!("server.02=x:2888:1\n{THREE}"));
    assert!(twice.ends_with("server 2 has a line already, zoo.cfg:2"), "{twice}");
    let observers = "server.1=a:1:2:observer\nserver.2=b:1:2:observer\n";
    assert!(refusal(observers).ends_with("all servers are observers: somebody must vote"));
    let watched = "server.1=a:1:2\nserver.2=b:1:2:observer\npartition.1.servers=2\n";
    assert!(refusal(watched).ends_with("all of these are observers: somebody must vote"));
    let not_voting = "server.1=a:1:2\nserver.2=b:1:2:observer\nring.0.servers=2\n";
    assert!(refusal(not_voting).ends_with("server 2 is an observer: it does not vote"));
}

#[test]
fn a_cluster_is_known_by_its_lines_or_its_name() {
    let derived = cluster(THREE).id;
    assert!(!derived.is_configured);
    assert_eq!(cluster(&THREE.replace("zoo1", "ZOO1")).id, derived);
    assert_ne!(cluster(&THREE.replace("zoo1", "other")).id, derived);
    assert_ne!(cluster(&THREE.replace("zoo3:2888", "zoo3:2889")).id, derived);
    // The custom of the container image: each server's own line says 0.0.0.0.
    let as_server = |id: u8| {
        let text = THREE.replace(&format!("zoo{id}"), "0.0.0.0");
        let loaded = read_with(&text, &[("/d/myid", &id.to_string())]).expect("valid");
        loaded.config.cluster.expect("three servers").id
    };
    assert_eq!(as_server(1), as_server(3));
    let named = |name| cluster(&format!("clusterId={name}\n{THREE}")).id;
    assert_eq!(named("0xff"), ClusterId { number: 255, is_configured: true });
    assert_eq!(named("17").number, 17);
    assert_ne!(named("blue"), named("green"));
}

#[test]
fn server_lines_may_stand_in_zookeepers_dynamic_file() {
    let text = "dynamicConfigFile=/conf/zoo.cfg.dynamic.100\n";
    let dynamic = format!("{THREE}version=100000000\n");
    let files = [("/d/myid", "3"), ("/conf/zoo.cfg.dynamic.100", dynamic.as_str())];
    let loaded = read_with(text, &files).expect("valid");
    assert_eq!((loaded.config.client.port, loaded.warnings.len()), (2183, 0));
    assert!(refusal(text).contains(": this file cannot be read: "));
    assert!(
        refusal(&format!("{THREE}{text}"))
            .ends_with("with a dynamicConfigFile all server lines stand there")
    );
}

#[test]
fn several_addresses_and_a_lonely_placement_are_warned_of() {
    let several = THREE.replace("zoo3:2888:3888", "zoo3:2888:3888|zoo3b:2888:3888");
    let warnings = read(&several).expect("valid").warnings;
    assert_eq!(warnings, ["zoo.cfg:4: server.3 has several addresses, zoo3:2888 is used"]);
    let alone = read("server.2=a:1:2\npartition.1.servers=1\nsslQuorum=true\n").expect("valid");
    assert_eq!(
        alone.warnings,
        [
            "zoo.cfg:3: partition.1.servers has no effect: there is one server",
            "zoo.cfg:4: sslQuorum has no effect: there is one server",
        ]
    );
}

#[test]
fn tls_is_read_from_either_set_of_keys() {
    let files = [("/d/myid", "2"), ("/c.pem", "C"), ("/k.pem", "K"), ("/a.pem", "A")];
    let tls = |text: &str| {
        let loaded = read_with(&format!("{text}\n{THREE}"), &files)?;
        let tls = loaded.config.cluster.and_then(|cluster| cluster.tls);
        Ok(tls.map(|tls| (tls.cert.content, tls.key.content, tls.ca.content, tls.verify_host)))
    };
    let of = |cert: &str, key: &str, verify| {
        Ok::<_, String>(Some((cert.into(), key.into(), b"A".to_vec(), verify)))
    };
    let own = "peer.tls.cert=/c.pem\npeer.tls.key=/k.pem\npeer.tls.ca=/a.pem";
    let theirs = "ssl.quorum.keyStore.location=/k.pem\nssl.quorum.trustStore.location=/a.pem";
    assert_eq!(tls(&format!("peer.tls=true\n{own}")), of("C", "K", true));
    let lax = "ssl.quorum.hostnameVerification=false";
    assert_eq!(tls(&format!("sslQuorum=true\n{lax}\n{theirs}")), of("K", "K", false));
    assert_eq!(tls(own), Ok(None));
    let table = [
        (
            "peer.tls=true",
            "zoo.cfg: peer.tls.cert is missing: the PEM file of this server's".into(),
        ),
        ("peer.tls=true\npeer.tls.cert=/no.pem", "/no.pem: this file cannot be read: ".into()),
        ("peer.tls=false\nsslQuorum=true", "peer.tls=false: sslQuorum=true says the opp".into()),
        (
            "sslQuorum=true\nssl.quorum.keyStore.location=/k.jks",
            "zoo.cfg:3: ssl.quorum.keyStore.location=/k.jks: Volery reads PEM only. Convert it by \
             `keytool -importkeystore -srckeystore /k.jks -destkeystore peer.p12 -deststoretype \
             PKCS12`, then `openssl pkcs12 -in peer.p12 -nodes -out peer.pem`, and name that file"
                .to_owned(),
        ),
        (
            "sslQuorum=true\nssl.quorum.keyStore.location=/k.p12",
            "Convert it by `openssl pkcs12 -in /k.p12 -nodes".into(),
        ),
    ];
    for (text, expected) in table {
        let error: String = tls(text).err().unwrap_or_default();
        assert!(error.contains(&expected), "{text}: {error}");
    }
}
