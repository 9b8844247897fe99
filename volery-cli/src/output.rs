//! What people and scripts see: data on stdout, notes and errors on stderr, exit codes.
//! It never decides what to print; colours mean something or are not used.
//! Called by `main` and every command.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::{Duration, Instant, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use volery_proto::zk::{Acl, Stat};

use crate::args::permission_letters;
use crate::client::error::ClientError;
use crate::command::multi::MultiFailed;

/// Meaning of a colour.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    /// Something came to be.
    Good = 32,
    /// Something went, or went wrong.
    Bad = 31,
    /// Something changed, or needs attention.
    Notice = 33,
    /// Something that lasts only as long as a session.
    Ephemeral = 36,
    /// Secondary.
    Faint = 2,
}

/// A mistake of the caller that only shows after the arguments were parsed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The two streams.
#[derive(Debug)]
pub(crate) struct Output {
    /// Whether everything is JSON.
    pub(crate) json: bool,
    stdout: RefCell<BufWriter<Stdout>>,
    stdout_colour: bool,
    stderr_terminal: bool,
    stderr_colour: bool,
    progress: RefCell<Option<Instant>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let stderr_terminal = io::stderr().is_terminal();
        Output {
            json,
            stdout: RefCell::new(BufWriter::with_capacity(64 << 10, io::stdout())),
            stdout_colour: colour && !json && io::stdout().is_terminal(),
            stderr_terminal,
            stderr_colour: colour && stderr_terminal,
            progress: RefCell::new(None),
        }
    }

    /// One line of data.
    pub(crate) fn line(&self, text: impl Display) -> io::Result<()> {
        writeln!(self.stdout.borrow_mut(), "{text}")
    }

    /// One JSON document, on a line of its own.
    pub(crate) fn document(&self, value: &Value) -> io::Result<()> {
        writeln!(self.stdout.borrow_mut(), "{value}")
    }

    /// Bytes as they are; a terminal gets a line end as well.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = self.stdout.borrow_mut();
        stdout.write_all(bytes)?;
        if io::stdout().is_terminal() && !bytes.ends_with(b"\n") && !bytes.is_empty() {
            stdout.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Sends what was printed on its way.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.stdout.borrow_mut().flush()
    }

    /// `text` in a colour, where stdout shows colours.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        paint(self.stdout_colour, tone, text)
    }

    /// A remark for people.
    pub(crate) fn note(&self, text: impl Display) {
        let text = text.to_string();
        self.clear_progress();
        if self.json {
            eprintln!("{}", json!({ "note": text }));
        } else {
            eprintln!("{}", paint(self.stderr_colour, Tone::Faint, &text));
        }
    }

    /// How far long work is; at most ten times a second, and only where somebody looks.
    pub(crate) fn progress(&self, text: impl FnOnce() -> String) {
        if !self.stderr_terminal || self.json {
            return;
        }
        let mut last = self.progress.borrow_mut();
        if last.is_none_or(|last| last.elapsed() >= Duration::from_millis(100)) {
            *last = Some(Instant::now());
            eprint!("\r\x1b[K{}", text());
        }
    }

    fn clear_progress(&self) {
        if self.progress.borrow_mut().take().is_some() {
            eprint!("\r\x1b[K");
        }
    }

    /// Prints the error that ends the command; returns the exit code.
    pub(crate) fn fail(&self, error: &anyhow::Error) -> u8 {
        self.clear_progress();
        if is_broken_pipe(error) {
            return 0; // the reader has seen enough
        }
        if self.json {
            eprintln!("{}", json!({ "error": error_document(error) }));
        } else {
            let head = paint(self.stderr_colour, Tone::Bad, "error:");
            match error.downcast_ref::<ClientError>() {
                Some(client) => eprintln!("{head} {error:#} ({})", client.name()),
                None => eprintln!("{head} {error:#}"),
            }
        }
        exit_code(error)
    }
}

fn paint(colour: bool, tone: Tone, text: &str) -> String {
    match colour {
        true => format!("\x1b[{}m{text}\x1b[0m", tone as u8),
        false => text.to_owned(),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// As documented in `--help`.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        return 2;
    }
    if error.is::<MultiFailed>() {
        return 1;
    }
    match error.downcast_ref::<ClientError>() {
        Some(
            ClientError::Server { .. } | ClientError::AuthFailed | ClientError::WordRefused { .. },
        ) => 1,
        Some(ClientError::Connect(_) | ClientError::ConnectionLost { .. }) => 3,
        Some(ClientError::SessionExpired(_)) => 4,
        Some(ClientError::Protocol { .. } | ClientError::Closed) | None => 5,
    }
}

fn error_document(error: &anyhow::Error) -> Value {
    let message = format!("{error:#}");
    if let Some(failed) = error.downcast_ref::<MultiFailed>() {
        return failed.document(&message);
    }
    match error.downcast_ref::<ClientError>() {
        Some(client @ ClientError::Server { code, path }) => {
            json!({ "name": client.name(), "code": code, "path": path, "message": message })
        }
        Some(client) => json!({ "name": client.name(), "message": message }),
        None if error.is::<Usage>() => json!({ "name": "USAGE", "message": message }),
        None => json!({ "name": "LOCAL", "message": message }),
    }
}

/// A zxid or session id.
pub(crate) fn hex(number: i64) -> String {
    format!("0x{number:x}")
}

/// Milliseconds since 1970 as a date.
pub(crate) fn date(unix_ms: i64) -> String {
    match u64::try_from(unix_ms) {
        Ok(ms) => {
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
        }
        Err(_) => unix_ms.to_string(),
    }
}

/// A Stat for scripts. Ids are text: they do not fit the numbers of most JSON readers.
pub(crate) fn stat_document(stat: &Stat) -> Value {
    json!({
        "czxid": hex(stat.czxid),
        "mzxid": hex(stat.mzxid),
        "pzxid": hex(stat.pzxid),
        "ctime": stat.ctime,
        "mtime": stat.mtime,
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeralOwner": hex(stat.ephemeral_owner),
        "dataLength": stat.data_length,
        "numChildren": stat.num_children,
    })
}

/// A Stat for people, one field a line.
pub(crate) fn stat_text(stat: &Stat) -> String {
    let rows = [
        ("created", format!("{}  zxid {}", date(stat.ctime), hex(stat.czxid))),
        ("modified", format!("{}  zxid {}", date(stat.mtime), hex(stat.mzxid))),
        ("children", format!("{}  changed at zxid {}", stat.num_children, hex(stat.pzxid))),
        ("data", format!("{} bytes", stat.data_length)),
        (
            "versions",
            format!("data {}  children {}  ACL {}", stat.version, stat.cversion, stat.aversion),
        ),
        (
            "ephemeral",
            match stat.ephemeral_owner {
                0 => "no".to_owned(),
                owner => format!("of session {}", hex(owner)),
            },
        ),
    ];
    rows.map(|(name, value)| format!("{name:<10} {value}")).join("\n")
}

/// Adds `data` (text, or null), or `dataBase64` where the bytes are not UTF-8.
pub(crate) fn put_data(document: &mut Map<String, Value>, data: Option<&[u8]>) {
    match data.map(std::str::from_utf8) {
        None => document.insert("data".into(), Value::Null),
        Some(Ok(text)) => document.insert("data".into(), text.into()),
        Some(Err(_)) => {
            let encoded = STANDARD.encode(data.unwrap_or_default());
            document.insert("dataBase64".into(), encoded.into())
        }
    };
}

/// The bytes of `dataBase64`.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text)
}

/// One entry of an ACL, as the arguments write it.
pub(crate) fn acl_text(entry: &Acl) -> String {
    format!("{}:{}:{}", entry.id.scheme, entry.id.id, permission_letters(entry.perms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn data_that_is_not_text_goes_as_base64() {
        let put = |data: Option<&[u8]>| {
            let mut map = Map::new();
            put_data(&mut map, data);
            Value::Object(map)
        };
        assert_eq!(put(None), json!({ "data": null }));
        assert_eq!(put(Some(b"x")), json!({ "data": "x" }));
        assert_eq!(put(Some(b"\xff\x00")), json!({ "dataBase64": "/wA=" }));
    }

    #[test]
    fn errors_have_codes_and_names() {
        let missing = ClientError::Server { code: -101, path: "/a/b".into() };
        let error = anyhow::Error::from(missing);
        assert_eq!(format!("{error:#}"), "no such znode /a/b");
        assert_eq!(exit_code(&error), 1);
        assert_eq!(error_document(&error)["name"], "NONODE");
        let (servers, word) = ("h:1".into(), "mntr".into());
        assert_eq!(exit_code(&ClientError::WordRefused { servers, word }.into()), 1);
        assert_eq!(exit_code(&ClientError::Connect(Vec::new()).into()), 3);
        assert_eq!(exit_code(&ClientError::SessionExpired(1).into()), 4);
        assert_eq!(exit_code(&Usage("x".into()).into()), 2);
        assert_eq!(exit_code(&anyhow!("x")), 5);
        let unknown = ClientError::Server { code: -999, path: "/".into() };
        assert_eq!(error_document(&unknown.into())["name"], "ERROR-999");
    }

    #[test]
    fn a_stat_reads_well() {
        let stat = Stat { ctime: 1_704_067_200_000, ephemeral_owner: -1, ..Stat::default() };
        assert!(stat_text(&stat).contains("2024-01-01T00:00:00.000Z"));
        assert_eq!(stat_document(&stat)["ephemeralOwner"], "0xffffffffffffffff");
        assert_eq!(date(-1), "-1");
    }
}
