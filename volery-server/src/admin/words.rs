//! The four-letter words: from facts to ZooKeeper's text, byte for byte. Reads no state, closes no
//! connection: what a word asks for beyond its text is handed back. Called by the client port.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};

use volery_proto::ids::SessionId;
use volery_proto::zk::OpCode;

use crate::admin::date::java_date;
use crate::admin::environment::Environment;
use crate::admin::monitor;
use crate::admin::status::{ConnectionStatus, Mode, Needs, ServerStatus};
use crate::admin::version::FULL_VERSION;
use crate::config::Config;

/// What is sent before the connection is closed, and what is done besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Sent as it is; may be empty.
    pub text: String,
    /// To be done by the caller, before or after sending.
    pub reset: Option<Reset>,
}

/// Counters that a word sets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// `srst`: those of the server.
    Server,
    /// `crst`: those of every connection.
    Connections,
}

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// Which costly facts the answer to a word is made of.
#[must_use]
pub fn needs(word: [u8; 4]) -> Needs {
    Needs {
        connections: matches!(&word, b"stat" | b"cons" | b"dump"),
        sessions: &word == b"dump",
        watches: matches!(&word, b"wchs" | b"wchc" | b"wchp"),
        directories: matches!(&word, b"conf" | b"dirs"),
        metrics: &word == b"mntr",
    }
}

/// Answers a word. Those that ZooKeeper has in its HTTP interface only get silence, as there.
#[must_use]
pub fn answer(
    word: [u8; 4],
    config: &Config,
    environment: &Environment,
    status: &ServerStatus,
) -> Answer {
    if matches!(&word, b"lead" | b"lsnp" | b"obsr" | b"orst" | b"sysp") {
        return Answer { text: String::new(), reset: None };
    }
    if !config.whitelist.allows(word) {
        let word = String::from_utf8_lossy(&word);
        let text = format!("{word} is not executed because it is not in the whitelist.\n");
        return Answer { text, reset: None };
    }
    let serving = status.stats.mode != Mode::NotServing;
    let reset = match &word {
        b"srst" if serving => Some(Reset::Server),
        b"crst" if serving => Some(Reset::Connections),
        _ => None,
    };
    let text = match &word {
        b"ruok" => "imok".to_owned(),
        b"envi" => envi(environment),
        b"isro" => if serving { "rw" } else { "null" }.to_owned(),
        // There are no trace masks; this is the default one of ZooKeeper.
        b"gtmk" | b"stmk" => "306".to_owned(),
        _ if !serving => NOT_SERVING.to_owned(),
        b"srvr" => format!("{}{}", version_line(), server(status)),
        b"stat" => stat(status),
        b"cons" => connections(status, full_line),
        b"mntr" => monitor::text(status),
        b"conf" => config.to_conf_text(status.directories),
        b"dump" => dump(status, config.tick_time_ms),
        b"wchs" => watch_summary(status),
        b"wchc" => watches_by_session(status),
        b"wchp" => watches_by_path(status),
        b"dirs" => {
            let sizes = status.directories;
            format!("datadir_size: {}\nlogdir_size: {}\n", sizes.data_bytes, sizes.log_bytes)
        }
        b"srst" => "Server stats reset.\n".to_owned(),
        b"crst" => "Connection stats reset.\n".to_owned(),
        // `hash`: a ZooKeeper whose tree has no digest yet says nothing either.
        _ => String::new(),
    };
    Answer { text, reset }
}

/// The name of a request in `lop=`.
#[must_use]
pub fn op_name(op: Option<OpCode>) -> &'static str {
    match op {
        Some(OpCode::Ping) => "PING",
        Some(OpCode::CreateSession) => "SESS",
        Some(OpCode::Multi) => "MULT",
        Some(OpCode::MultiRead) => "MLTR",
        Some(OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl) => {
            "CREA"
        }
        Some(OpCode::Delete | OpCode::DeleteContainer) => "DELE",
        Some(OpCode::SetData) => "SETD",
        Some(OpCode::Reconfig) => "RECO",
        Some(OpCode::SetAcl) => "SETA",
        Some(OpCode::CloseSession) => "CLOS",
        Some(OpCode::Sync) => "SYNC",
        Some(OpCode::Check) => "CHEC",
        Some(OpCode::Exists) => "EXIS",
        Some(OpCode::GetData) => "GETD",
        Some(OpCode::SetWatches) => "SETW",
        Some(OpCode::SetWatches2) => "STW2",
        Some(OpCode::AddWatch) => "ADDW",
        Some(OpCode::GetAcl) => "GETA",
        Some(OpCode::GetChildren | OpCode::GetChildren2) => "GETC",
        Some(OpCode::GetAllChildrenNumber) => "GETACN",
        Some(OpCode::CheckWatches) => "CHKW",
        Some(OpCode::RemoveWatches) => "REMW",
        Some(OpCode::WhoAmI) => "HOMI",
        Some(OpCode::GetEphemerals) => "GETE",
        Some(OpCode::Notification | OpCode::Auth | OpCode::Sasl | OpCode::Error) | None => "NA",
    }
}

fn version_line() -> String {
    format!("Zookeeper version: {FULL_VERSION}\n")
}

fn envi(environment: &Environment) -> String {
    let mut text = Text::default();
    text.line("Environment:");
    for (key, value) in &environment.0 {
        text.line(format_args!("{key}={value}"));
    }
    text.0
}

/// The lines of `srvr` below the version.
fn server(status: &ServerStatus) -> String {
    let stats = &status.stats;
    let latency = stats.latency_us;
    let mut text = Text::default();
    let (min, average, max) = (latency.min / 1000, latency.average(1000), latency.max / 1000);
    text.line(format_args!("Latency min/avg/max: {min}/{average}/{max}"));
    text.line(format_args!("Received: {}", stats.received));
    text.line(format_args!("Sent: {}", stats.sent));
    text.line(format_args!("Connections: {}", stats.num_alive_connections));
    text.line(format_args!("Outstanding: {}", stats.outstanding));
    text.line(format_args!("Zxid: {}", stats.last_zxid));
    text.line(format_args!("Mode: {}", stats.mode.word()));
    text.line(format_args!("Node count: {}", stats.znode_count));
    text.0
}

fn stat(status: &ServerStatus) -> String {
    let clients = connections(status, brief_line);
    format!("{}Clients:\n{clients}{}", version_line(), server(status))
}

/// One line for each connection, and an empty one.
fn connections(status: &ServerStatus, line: fn(&ConnectionStatus) -> String) -> String {
    let mut text = Text::default();
    for connection in &status.connections {
        text.line(format_args!(" {})", line(connection)));
    }
    text.line("");
    text.0
}

fn brief_line(connection: &ConnectionStatus) -> String {
    let ConnectionStatus { remote, interest_ops, queued, received, sent, .. } = connection;
    format!("/{remote}[{interest_ops:x}](queued={queued},recved={received},sent={sent}")
}

fn full_line(connection: &ConnectionStatus) -> String {
    let mut line = brief_line(connection);
    let Some(session) = &connection.session else { return line };
    let (id, op) = (session.id, op_name(session.last_op));
    let (established, timeout) = (session.established_unix_ms, session.timeout_ms);
    // Writing to a String does not fail, here and below.
    let _ = write!(line, ",sid={id},lop={op},est={established},to={timeout}");
    if session.last_cxid >= 0 {
        let _ = write!(line, ",lcxid=0x{:x}", session.last_cxid);
    }
    let (zxid, response) = (session.last_zxid, session.last_response_ms);
    let latency = session.latency_us;
    let average = latency.sum.checked_div(latency.count).unwrap_or(0) / 1000;
    let _ = write!(
        line,
        ",lzxid=0x{zxid:x},lresp={response},llat={},minlat={},avglat={average},maxlat={}",
        session.last_latency_us / 1000,
        latency.min / 1000,
        latency.max / 1000,
    );
    line
}

fn dump(status: &ServerStatus, tick_time_ms: i32) -> String {
    let mut text = Text::default();
    text.line("SessionTracker dump:");
    let sessions = status.sessions.iter().map(|one| (one.expires_unix_ms, one.id.to_string()));
    text.buckets("Session", tick_time_ms, sessions);
    text.line("ephemeral nodes dump:");
    text.line(format_args!("Sessions with Ephemerals ({}):", status.ephemerals.len()));
    for (session, paths) in &status.ephemerals {
        text.line(format_args!("{session}:"));
        paths.iter().for_each(|path| text.line(format_args!("\t{path}")));
    }
    text.line("Connections dump:");
    let connections = status.connections.iter().map(|one| {
        let session = one.session.as_ref().map(|session| session.id).unwrap_or_default();
        (one.expires_unix_ms, format!("ip: /{} sessionId: {session}", one.remote))
    });
    text.buckets("Connections", tick_time_ms, connections);
    text.0
}

fn watch_summary(status: &ServerStatus) -> String {
    let sessions: BTreeSet<&SessionId> = status.watches.values().flatten().collect();
    let total: usize = status.watches.values().map(BTreeSet::len).sum();
    let (sessions, paths) = (sessions.len(), status.watches.len());
    format!("{sessions} connections watching {paths} paths\nTotal watches:{total}\n")
}

fn watches_by_session(status: &ServerStatus) -> String {
    let mut by_session = BTreeMap::<SessionId, Vec<&str>>::new();
    for (path, sessions) in &status.watches {
        sessions.iter().for_each(|session| by_session.entry(*session).or_default().push(path));
    }
    let mut text = Text::default();
    for (session, paths) in by_session {
        text.line(session);
        paths.iter().for_each(|path| text.line(format_args!("\t{path}")));
    }
    text.line("");
    text.0
}

fn watches_by_path(status: &ServerStatus) -> String {
    let mut text = Text::default();
    for (path, sessions) in &status.watches {
        text.line(path);
        sessions.iter().for_each(|session| text.line(format_args!("\t{session}")));
    }
    text.line("");
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.0, "{line}");
    }

    /// What expires when, in buckets of one tick that end at whole ticks, as ZooKeeper keeps them.
    fn buckets(
        &mut self,
        what: &str,
        tick_time_ms: i32,
        entries: impl Iterator<Item = (u64, String)>,
    ) {
        let tick_ms = u64::from(tick_time_ms.max(1).unsigned_abs());
        let mut buckets = BTreeMap::<u64, Vec<String>>::new();
        let mut count = 0;
        for (expires_unix_ms, entry) in entries {
            let bucket = (expires_unix_ms / tick_ms + 1).saturating_mul(tick_ms);
            buckets.entry(bucket).or_default().push(entry);
            count += 1;
        }
        self.line(format_args!("{what} Sets ({})/({count}):", buckets.len()));
        for (time, entries) in buckets {
            self.line(format_args!("{} expire at {}:", entries.len(), java_date(time)));
            entries.iter().for_each(|entry| self.line(format_args!("\t{entry}")));
        }
    }
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
