//! The one table of configuration keys: name, kind of value, default, meaning. The parser checks
//! values by it, `--help-config` and the documentation print it; nothing else names a default.
//! Holds no values. Called by the rest of `config`.

use volery_proto::limits::{MAX_FRAME_CEILING, MAX_FRAME_DEFAULT, MAX_PARTITIONS};

/// What a key's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A decimal number within bounds (or `0x…`, as Java's system properties allow).
    Int {
        /// Least value.
        min: i64,
        /// Highest value.
        max: i64,
    },
    /// `true` or `false`, in any case.
    Bool,
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// A path of the file system.
    Path,
    /// Text that is not empty.
    Text,
    /// Text that must never be printed.
    Secret,
    /// A list separated by commas, its items without blanks around them.
    List,
}

/// What holds where a key is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// This value.
    Value(&'static str),
    /// Computed from others, as these words say.
    Derived(&'static str),
    /// Nothing: the thing is off, or the key must be given; the words say which.
    None(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As it is written in zoo.cfg. A component `N` stands for a number.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What holds without it.
    pub default: Otherwise,
    /// One sentence or two for the help.
    pub meaning: &'static str,
}

const TOP: i64 = i32::MAX as i64;
const NOT_NEGATIVE: Kind = Kind::Int { min: 0, max: TOP };
const POSITIVE: Kind = Kind::Int { min: 1, max: TOP };
const PORT: Kind = Kind::Int { min: 0, max: 65535 };
/// -1 is ZooKeeper's word for "the default".
const TIMEOUT: Kind = Kind::Int { min: -1, max: TOP };
const FRAME: Kind = Kind::Int { min: 1024, max: MAX_FRAME_CEILING as i64 };
const PARTITIONS: Kind = Kind::Int { min: 1, max: MAX_PARTITIONS as i64 };
const STORE: Kind = Kind::OneOf(&["PEM", "JKS", "PKCS12", "BCFKS"]);
const YES_NO: Kind = Kind::OneOf(&["yes", "no"]);

const fn key(name: &'static str, kind: Kind, default: Otherwise, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

use Otherwise::{Derived, None, Value};

/// `jute.maxbuffer`'s default as text; a test holds it to the constant.
const FRAME_DEFAULT: &str = "1048575";
const _: () = assert!(MAX_FRAME_DEFAULT == 1_048_575);

/// Every key that has an effect, in the order of the help.
pub const KEYS: &[Key] = &[
    key(
        "dataDir",
        Kind::Path,
        None("required in a zoo.cfg; without a file ./volery-data"),
        "Directory of the server's state; `myid` is read from it.",
    ),
    key("dataLogDir", Kind::Path, Derived("dataDir"), "Directory of the log."),
    key("clientPort", PORT, Value("2181"), "Port for clients; 0 takes any free port."),
    key("clientPortAddress", Kind::Text, None("all addresses"), "Address for clients."),
    key(
        "clientPortListenBacklog",
        Kind::Int { min: -1, max: TOP },
        Value("-1"),
        "Connections that may wait to be accepted; -1 leaves it to the system.",
    ),
    key(
        "server.N",
        Kind::Text,
        None("standalone"),
        "host:peerPort:electionPort[:participant|observer][;[address:]clientPort]. One line or \
         none is a server on its own, several are a cluster. The election port is not used.",
    ),
    key(
        "dynamicConfigFile",
        Kind::Path,
        None("server lines stand in zoo.cfg"),
        "ZooKeeper's file of server lines; read at the start, never written.",
    ),
    key(
        "quorumListenOnAllIPs",
        Kind::Bool,
        Value("false"),
        "true: the peer port listens on all addresses, not only on its server line's.",
    ),
    key(
        "initLimit",
        NOT_NEGATIVE,
        Value("0"),
        "Accepted; how long a server may be silent is \
         not configured.",
    ),
    key("syncLimit", NOT_NEGATIVE, Value("0"), "Accepted, as initLimit."),
    key(
        "clusterId",
        Kind::Text,
        Derived("a hash of the server lines"),
        "Volery: a number or a name, the same at all servers; servers of another are refused.",
    ),
    key(
        "partition.N.servers",
        Kind::List,
        Derived("all servers"),
        "Volery: ids of the servers that hold partition N.",
    ),
    key(
        "ring.0.servers",
        Kind::List,
        Derived("the participants; of more than five those with the lowest ids"),
        "Volery: ids of the servers that vote on ring 0, five at most.",
    ),
    key(
        "peer.tls",
        Kind::Bool,
        Value("false"),
        "Volery: servers talk to each other by TLS, and \
         both sides prove who they are.",
    ),
    key("sslQuorum", Kind::Bool, Value("false"), "ZooKeeper's word for peer.tls."),
    key(
        "peer.tls.cert",
        Kind::Path,
        Derived("ssl.quorum.keyStore.location"),
        "Volery: PEM file of this server's certificate, with those up to the authority.",
    ),
    key(
        "peer.tls.key",
        Kind::Path,
        Derived("ssl.quorum.keyStore.location"),
        "Volery: PEM file of its private key.",
    ),
    key(
        "peer.tls.ca",
        Kind::Path,
        Derived("ssl.quorum.trustStore.location"),
        "Volery: PEM file of the authorities that sign the servers' certificates.",
    ),
    key(
        "ssl.quorum.keyStore.location",
        Kind::Path,
        None("none"),
        "Certificate and key of this server in one PEM file.",
    ),
    key("ssl.quorum.keyStore.type", STORE, Derived("the file's ending"), "Form of that file."),
    key("ssl.quorum.trustStore.location", Kind::Path, None("none"), "PEM file of the authorities."),
    key("ssl.quorum.trustStore.type", STORE, Derived("the file's ending"), "Form of that file."),
    key(
        "ssl.quorum.hostnameVerification",
        Kind::Bool,
        Value("true"),
        "Whether a server's certificate must name the host of its server line, whoever dials.",
    ),
    key(
        "tickTime",
        Kind::Int { min: 1, max: TOP / 20 },
        Value("3000"),
        "Milliseconds of a tick, the unit of session timeouts.",
    ),
    key("minSessionTimeout", TIMEOUT, Derived("2 * tickTime"), "Least session timeout, ms."),
    key("maxSessionTimeout", TIMEOUT, Derived("20 * tickTime"), "Highest session timeout, ms."),
    key("maxClientCnxns", NOT_NEGATIVE, Value("60"), "Connections of one address; 0: any number."),
    key("maxCnxns", NOT_NEGATIVE, Value("0"), "Connections altogether; 0: any number."),
    key("clientTcpKeepAlive", Kind::Bool, Value("false"), "TCP keep-alive for clients."),
    key("tcpKeepAlive", Kind::Bool, Value("false"), "TCP keep-alive between servers."),
    key(
        "4lw.commands.whitelist",
        Kind::List,
        Value("srvr"),
        "Four-letter words that are answered; * is all of them.",
    ),
    key(
        "jute.maxbuffer",
        FRAME,
        Value(FRAME_DEFAULT),
        "Longest request of a client, in bytes. ZooKeeper takes it as a JVM flag only.",
    ),
    key(
        "globalOutstandingLimit",
        POSITIVE,
        Value("1000"),
        "Requests in work before client sockets are no longer read.",
    ),
    key(
        "DigestAuthenticationProvider.superDigest",
        Kind::Secret,
        None("no super user"),
        "user:base64(sha1(user:password)) of the user whom no ACL stops.",
    ),
    key(
        "DigestAuthenticationProvider.enabled",
        Kind::Bool,
        Value("true"),
        "Whether the digest scheme is offered.",
    ),
    key("skipACL", YES_NO, Value("no"), "yes: no ACL is checked."),
    key("extendedTypesEnabled", Kind::Bool, Value("false"), "Whether TTL znodes may be created."),
    key(
        "durability",
        Kind::OneOf(&["sync", "async"]),
        Value("sync"),
        "sync: what is acknowledged is on disk. async: it is lost when the machine fails.",
    ),
    key(
        "reads",
        Kind::OneOf(&["local", "linearizable"]),
        Value("local"),
        "Volery: linearizable: every read of this server's clients first gets the barrier that \
         sync is, and so sees all that was answered before to anybody. local: it sees no less \
         than its session has seen.",
    ),
    key("forceSync", YES_NO, Value("yes"), "ZooKeeper's word: no is durability=async."),
    key(
        "fsync.warningthresholdms",
        NOT_NEGATIVE,
        Value("1000"),
        "A sync of the log that takes longer is logged.",
    ),
    key(
        "snapCount",
        Kind::Int { min: 0, max: TOP },
        Value("100000"),
        "Commands between two snapshots, at least 2; a quarter of the znodes where that is more.",
    ),
    key(
        "preAllocSize",
        Kind::Int { min: 1, max: 4 << 20 },
        Value("65536"),
        "KB that a log segment reserves on disk.",
    ),
    key(
        "autopurge.snapRetainCount",
        NOT_NEGATIVE,
        Value("3"),
        "Snapshots that are kept; at least 3.",
    ),
    key(
        "znode.container.checkIntervalMs",
        POSITIVE,
        Value("60000"),
        "How often empty containers and expired TTL znodes are looked for.",
    ),
    key(
        "znode.container.maxPerMinute",
        POSITIVE,
        Value("10000"),
        "How many of them are deleted in a minute.",
    ),
    key(
        "znode.container.maxNeverUsedIntervalMs",
        NOT_NEGATIVE,
        Value("0"),
        "Age at which a container that never had children goes; 0: never.",
    ),
    key(
        "metricsProvider.className",
        Kind::Text,
        None("Prometheus"),
        "Accepted; the Prometheus endpoint is the one there is.",
    ),
    key("metricsProvider.httpPort", PORT, Value("7000"), "Port of /metrics; 0: none."),
    key("metricsProvider.httpHost", Kind::Text, Value("0.0.0.0"), "Address of /metrics."),
    key(
        "partitions",
        PARTITIONS,
        Value("4"),
        "Volery: partitions of the tree. Fixed when the data directory is first used.",
    ),
    key(
        "partition.spread",
        Kind::List,
        Value("/*"),
        "Volery: patterns whose matches are spread over the partitions, with all below them.",
    ),
    key(
        "partition.N.prefixes",
        Kind::List,
        None("none"),
        "Volery: subtrees that live in partition N.",
    ),
    key(
        "ring.window",
        Kind::Int { min: 1, max: 1024 },
        Value("32"),
        "Volery: proposals of one ring that may be under way at once.",
    ),
    key(
        "skip.along",
        Kind::Bool,
        Derived("true on its own, false in a cluster"),
        "Volery: every ring that a server leads skips along with what another of its rings \
         proposes; otherwise only where somebody waits for it.",
    ),
    key(
        "skip.aheadUs",
        Kind::Int { min: 0, max: 1_000_000 },
        Derived("0 on its own, 3000 in a cluster"),
        "Volery: microseconds by which a skip of ring 0 runs ahead of the clock: writes ask it \
         less often, and what goes through ring 0 waits for so long.",
    ),
    key(
        "transfer.bytesPerSecond",
        Kind::Int { min: 1 << 16, max: TOP },
        Value("67108864"),
        "Volery: what a server sends to others that are behind, snapshots and log, in a second.",
    ),
    key("log.format", Kind::OneOf(&["text", "json"]), Value("text"), "Volery: form of the log."),
    key(
        "log.level",
        Kind::OneOf(&["off", "error", "warn", "info", "debug", "trace"]),
        Value("info"),
        "Volery: least level that is logged; VOLERY_LOG in the environment wins.",
    ),
];

/// The key of a name as written (`partition.3.prefixes` finds `partition.N.prefixes`), and the
/// number that stands for its `N`.
#[must_use]
pub fn find(name: &str) -> Option<(&'static Key, Option<&str>)> {
    KEYS.iter().find_map(|key| match key.name.split_once('N') {
        Some((head, tail)) if head.ends_with('.') => {
            let number = name.strip_prefix(head)?.strip_suffix(tail)?;
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            digits.then_some((key, Some(number)))
        }
        _ => (key.name == name).then_some((key, Option::None)),
    })
}

impl Kind {
    /// What is allowed, for an error message and the help.
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Kind::Int { min, max } if max == TOP => format!("a whole number, {min} or more"),
            Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Bool => "true or false".to_owned(),
            Kind::OneOf(words) => words.join(" or "),
            Kind::Path => "a path".to_owned(),
            Kind::Text | Kind::Secret => "a text that is not empty".to_owned(),
            Kind::List => "a list separated by commas".to_owned(),
        }
    }
}

impl Otherwise {
    /// As the help prints it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Otherwise::Value(text) | Otherwise::Derived(text) | Otherwise::None(text) => text,
        }
    }
}

/// The text of `--help-config`.
#[must_use]
pub fn help() -> String {
    let mut text = String::from(
        "Keys of zoo.cfg that have an effect (all others are accepted with a warning).\n\
         They are also taken as zookeeper.KEY, and from -Dzookeeper.KEY=value in the\n\
         environment variables SERVER_JVMFLAGS and JVMFLAGS; the file wins, then JVMFLAGS.\n",
    );
    for key in KEYS {
        text.push_str(&format!("\n{} (default: {})\n", key.name, key.default.text()));
        text.push_str(&format!("    {}\n    Allowed: {}.\n", key.meaning, key.kind.allowed()));
    }
    text
}

/// The table of the documentation, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text =
        String::from("| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
    for key in KEYS {
        let (default, allowed) = (key.default.text(), key.kind.allowed());
        text.push_str(&format!("| `{}` | {default} | {allowed} | {} |\n", key.name, key.meaning));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_their_numbers() {
        let found = |name| find(name).map(|(key, number)| (key.name, number));
        assert_eq!(found("tickTime"), Some(("tickTime", Option::None)));
        assert_eq!(found("server.12"), Some(("server.N", Some("12"))));
        assert_eq!(found("partition.3.prefixes"), Some(("partition.N.prefixes", Some("3"))));
        for unknown in ["server.", "server.x", "partition.prefixes", "ticktime", "server.N"] {
            assert_eq!(found(unknown), Option::None, "{unknown}");
        }
    }

    #[test]
    fn every_key_is_in_help_and_documentation_once() {
        for key in KEYS {
            assert_eq!(help().matches(&format!("\n{} (default", key.name)).count(), 1);
            assert_eq!(markdown().matches(&format!("\n| `{}` |", key.name)).count(), 1);
            assert!(key.meaning.ends_with('.'), "{}", key.name);
        }
    }

    #[test]
    fn help_reads_well() {
        assert!(help().contains(
            "\ntickTime (default: 3000)\n    \
             Milliseconds of a tick, the unit of session timeouts.\n    \
             Allowed: a whole number from 1 to 107374182.\n"
        ));
    }
}
