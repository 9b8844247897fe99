//! Turns settings into a [`Config`]: precedence, relations between keys, Volery's map rules. Never
//! touches a file. Called by [`super::parse`].

use std::path::{Path, PathBuf};

use volery_proto::ids::{PartitionId, ServerId};

use super::{
    AuthConfig, ClientPort, Config, ConfigError, ContainerConfig, DEFAULT_DATA_DIR, Durability,
    Flags, Loaded, LogConfig, LogFormat, MetricsConfig, Place, ReadFile, StorageConfig,
    SuperDigest, Whitelist,
};
use crate::config::server_line::ClientPart;
use crate::config::values::{Setting, Values, items};
use crate::config::{jvm_flags, peer_tls, properties, read_cluster};
use crate::core::oracle::rules::{MapRules, RulesError};

/// Everything that a read needs at hand.
pub(super) fn read(
    file: Option<(&str, &[u8])>,
    flags: &Flags,
    read: ReadFile<'_>,
) -> Result<Loaded, ConfigError> {
    let mut values = Values::default();
    let variables = [("SERVER_JVMFLAGS", &flags.server_jvmflags), ("JVMFLAGS", &flags.jvmflags)];
    for (variable, flags) in variables {
        for setting in jvm_flags::settings(variable, flags) {
            values.set(setting)?;
        }
    }
    if let Some((name, bytes)) = file {
        read_file(name, bytes, &mut values)?;
    }
    dynamic_file(&mut values, read)?;
    let config = build(file.map(|(name, _)| name), &mut values, read)?;
    Ok(Loaded { config, warnings: values.warnings })
}

fn read_file(name: &str, bytes: &[u8], values: &mut Values) -> Result<(), ConfigError> {
    let place = |line| Place { source: name.to_owned(), line: Some(line) };
    let properties = properties::parse(bytes).map_err(|error| ConfigError::Malformed {
        place: place(error.line),
        problem: error.problem,
    })?;
    // ZooKeeper writes its own version into the file of server lines.
    for property in properties.into_iter().filter(|property| property.key != "version") {
        let (key, value) = (property.key, property.value);
        values.set(Setting { place: place(property.line), key, value })?;
    }
    Ok(())
}

/// The server lines of a `dynamicConfigFile`, which ZooKeeper keeps apart once it may write them.
fn dynamic_file(values: &mut Values, read: ReadFile<'_>) -> Result<(), ConfigError> {
    let Some(setting) = values.setting("dynamicConfigFile").cloned() else { return Ok(()) };
    if let Some(line) = values.numbered("server.").next() {
        return Err(line.refuse("with a dynamicConfigFile all server lines stand there"));
    }
    let path = PathBuf::from(&setting.value);
    let bytes = read(&path)
        .map_err(|error| setting.refuse(format!("this file cannot be read: {error}")))?;
    read_file(&setting.value, &bytes, values)
}

/// What `myid` holds, if it is there.
fn my_id(path: &Path, read: ReadFile<'_>) -> Result<Option<ServerId>, ConfigError> {
    match read(path) {
        Ok(bytes) => super::my_id(path, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
    }
}

fn build(
    file: Option<&str>,
    values: &mut Values,
    read: ReadFile<'_>,
) -> Result<Config, ConfigError> {
    let (data_dir, data_log_dir) = directories(file, values)?;
    let lines = read_cluster::server_lines(values)?;
    let my_id_file = data_dir.join("myid");
    let server_id = read_cluster::own_id(&lines, my_id(&my_id_file, read)?, &my_id_file)?;
    let own_line = match lines.len() {
        1 => lines.values().next(),
        _ => lines.get(&server_id),
    };
    let client = client_port(values, own_line.and_then(|(_, line)| line.client.as_ref()))?;
    let tick_time_ms = values.number("tickTime");
    let (min_session_timeout_ms, max_session_timeout_ms) = timeouts(values, tick_time_ms)?;
    let durability = durability(values);
    let auth = auth(values)?;
    let map = map_rules(file, values)?;
    let tls = if lines.len() < 2 { None } else { peer_tls::read(file, values, read)? };
    let cluster = read_cluster::cluster(values, &lines, server_id, tls)?;
    Ok(Config {
        server_id,
        data_dir,
        data_log_dir,
        client,
        tick_time_ms,
        min_session_timeout_ms,
        max_session_timeout_ms,
        whitelist: whitelist(values),
        max_frame_bytes: values.number("jute.maxbuffer"),
        global_outstanding_limit: values.number("globalOutstandingLimit"),
        auth,
        extended_types_enabled: values.flag("extendedTypesEnabled"),
        durability,
        linearizable_reads: values
            .text("reads")
            .is_some_and(|text| text.eq_ignore_ascii_case("linearizable")),
        storage: storage(values),
        container: ContainerConfig {
            check_interval_ms: values.number("znode.container.checkIntervalMs"),
            max_per_minute: values.number("znode.container.maxPerMinute"),
            max_never_used_interval_ms: values.number("znode.container.maxNeverUsedIntervalMs"),
        },
        metrics: MetricsConfig {
            host: values.text("metricsProvider.httpHost").unwrap_or_default().to_owned(),
            port: values.number("metricsProvider.httpPort"),
        },
        map,
        ring_window: values.number("ring.window"),
        skip_along: match values.text("skip.along") {
            Some(_) => values.flag("skip.along"),
            None => cluster.is_none(),
        },
        skip_ahead_us: match values.int("skip.aheadUs") {
            Some(_) => values.number("skip.aheadUs"),
            // Of a thousand writes a second, one after the other, three in four spare a skip, its
            // sync at a majority and a dozen messages.
            None if cluster.is_some() => 3000,
            None => 0,
        },
        transfer_bytes_per_second: values.number("transfer.bytesPerSecond"),
        cluster,
        tcp_keep_alive: values.flag("tcpKeepAlive"),
        log: log(values),
    })
}

fn directories(file: Option<&str>, values: &mut Values) -> Result<(PathBuf, PathBuf), ConfigError> {
    for name in ["dataDir", "dataLogDir"] {
        let Some(setting) = values.setting(name) else { continue };
        let sure = setting.value.starts_with(['/', '.']);
        if !sure {
            let place = setting.place.clone();
            let warning = format!(
                "{name}={} is relative to the working directory; begin it with ./ if that is meant",
                setting.value
            );
            values.warn(&place, warning);
        }
    }
    let data_dir = match (values.text("dataDir"), file) {
        (Some(path), _) => PathBuf::from(path),
        (None, None) => PathBuf::from(DEFAULT_DATA_DIR),
        (None, Some(file)) => {
            let why = "the directory of the server's state";
            return Err(ConfigError::Missing { file: file.to_owned(), key: "dataDir", why });
        }
    };
    let data_log_dir = values.text("dataLogDir").map_or_else(|| data_dir.clone(), PathBuf::from);
    Ok((data_dir, data_log_dir))
}

/// The client port, from its own keys or from this server's line.
fn client_port(values: &Values, from_line: Option<&ClientPart>) -> Result<ClientPort, ConfigError> {
    let mut address = values.text("clientPortAddress").map(str::to_owned);
    let mut port = values.number("clientPort");
    if let Some(part) = from_line {
        if let Some(setting) = values.setting("clientPort")
            && part.port != port
        {
            let problem = format!("differs from the client port {} of the server line", part.port);
            return Err(setting.refuse(problem));
        }
        port = part.port;
        address = address.or_else(|| part.address.clone());
    }
    let backlog: i64 = values.number("clientPortListenBacklog");
    Ok(ClientPort {
        address,
        port,
        listen_backlog: u32::try_from(backlog).ok(),
        max_per_address: values.number("maxClientCnxns"),
        max_connections: values.number("maxCnxns"),
        keep_alive: values.flag("clientTcpKeepAlive"),
    })
}

fn timeouts(values: &Values, tick_time_ms: i32) -> Result<(i32, i32), ConfigError> {
    let given = |name, ticks| match values.int(name) {
        // -1 is ZooKeeper's word for the default. The table bounds both to an i32.
        None | Some(-1) => tick_time_ms * ticks,
        Some(ms) => i32::try_from(ms).unwrap_or(i32::MAX),
    };
    let (min, max) = (given("minSessionTimeout", 2), given("maxSessionTimeout", 20));
    if min <= max {
        return Ok((min, max));
    }
    let refusal = match (values.setting("minSessionTimeout"), values.setting("maxSessionTimeout")) {
        (Some(setting), _) => {
            setting.refuse(format!("must not be above maxSessionTimeout, which is {max}"))
        }
        (None, Some(setting)) => {
            setting.refuse(format!("must not be below minSessionTimeout, which is {min}"))
        }
        // 2 ticks are never above 20.
        (None, None) => return Ok((min, max)),
    };
    Err(refusal)
}

fn whitelist(values: &mut Values) -> Whitelist {
    let (whitelist, unknown) = Whitelist::new(&values.list("4lw.commands.whitelist"));
    if let Some(place) = values.setting("4lw.commands.whitelist").map(|set| set.place.clone()) {
        for word in unknown {
            values.warn(&place, format!("{word} is not a four-letter word of ZooKeeper"));
        }
    }
    whitelist
}

fn auth(values: &Values) -> Result<AuthConfig, ConfigError> {
    const KEY: &str = "DigestAuthenticationProvider.superDigest";
    let super_digest = match values.setting(KEY) {
        Some(setting) if !setting.value.contains(':') => {
            let hidden = Setting { value: "(hidden)".to_owned(), ..setting.clone() };
            return Err(hidden.refuse("user:base64(sha1(user:password)) is expected"));
        }
        Some(setting) => Some(SuperDigest(setting.value.clone())),
        None => None,
    };
    Ok(AuthConfig {
        super_digest,
        digest_enabled: values.flag("DigestAuthenticationProvider.enabled"),
        skip_acl: values.flag("skipACL"),
    })
}

/// `durability`, else `forceSync`. Whoever forfeits durability is told so, once.
fn durability(values: &mut Values) -> Durability {
    let named = values.setting("durability").cloned();
    let (setting, is_async) = match named {
        Some(setting) => {
            let is_async = setting.value.eq_ignore_ascii_case("async");
            (Some(setting), is_async)
        }
        None => (values.setting("forceSync").cloned(), !values.flag("forceSync")),
    };
    if !is_async {
        return Durability::Sync;
    }
    if let Some(setting) = setting {
        let warning = format!(
            "{}={}: acknowledged writes are not synced to disk and are lost when the machine fails",
            setting.key, setting.value
        );
        values.warn(&setting.place, warning);
    }
    Durability::Async
}

fn storage(values: &mut Values) -> StorageConfig {
    let kib: u64 = values.number("preAllocSize");
    StorageConfig {
        fsync_warning_threshold_ms: values.number("fsync.warningthresholdms"),
        snap_count: at_least(values, "snapCount", 2),
        preallocate_bytes: kib * 1024,
        snap_retain_count: at_least(values, "autopurge.snapRetainCount", 3) as usize,
    }
}

/// ZooKeeper raises these silently; here it is said.
fn at_least(values: &mut Values, name: &str, least: u64) -> u64 {
    let number: u64 = values.number(name);
    if number < least
        && let Some(place) = values.setting(name).map(|setting| setting.place.clone())
    {
        values.warn(&place, format!("{name}={number} is below the least, {least} is taken"));
    }
    number.max(least)
}

fn log(values: &Values) -> LogConfig {
    let json = values.text("log.format").is_some_and(|text| text.eq_ignore_ascii_case("json"));
    LogConfig {
        format: if json { LogFormat::Json } else { LogFormat::Text },
        level: values.text("log.level").unwrap_or_default().to_ascii_lowercase(),
    }
}

fn map_rules(file: Option<&str>, values: &Values) -> Result<MapRules, ConfigError> {
    let partitions: u16 = values.number("partitions");
    let mut prefixes: Vec<(PartitionId, String)> = Vec::new();
    let mut of_prefix: Vec<(String, &Setting)> = Vec::new();
    for setting in values.numbered("partition.").filter(|one| one.key.ends_with(".prefixes")) {
        let number = setting.key.split('.').rev().nth(1).and_then(|number| number.parse().ok());
        let Some(number) = number.filter(|number| (1..=partitions).contains(number)) else {
            return Err(setting.refuse(format!("N of {} is from 1 to {partitions}", KEY_PREFIXES)));
        };
        for prefix in items(&setting.value) {
            prefixes.push((PartitionId(number), prefix.clone()));
            of_prefix.push((prefix, setting));
        }
    }
    MapRules::new(partitions, values.list("partition.spread"), prefixes).map_err(|error| {
        // The line that holds the pattern at fault; the last one where it stands twice.
        let pattern = match &error {
            RulesError::BadPattern { pattern, .. } | RulesError::Duplicate(pattern) => pattern,
            _ => "",
        };
        let found = of_prefix.iter().rev().find(|(prefix, _)| prefix == pattern);
        let spread = values.setting("partition.spread");
        let in_spread =
            spread.filter(|_| values.list("partition.spread").iter().any(|p| p == pattern));
        match in_spread.or(found.map(|(_, setting)| *setting)).or(spread) {
            Some(setting) => setting.refuse(error.to_string()),
            None => ConfigError::BadValue {
                place: Place { source: file.unwrap_or("defaults").to_owned(), line: None },
                key: "partitions".to_owned(),
                value: partitions.to_string(),
                allowed: error.to_string(),
            },
        }
    })
}

const KEY_PREFIXES: &str = "partition.N.prefixes";
