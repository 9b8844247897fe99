//! The command line: global options, the list of commands, and values that several of them take.
//! It opens no file and no connection.
//! Called by `main`.

use std::fs;
use std::io::{self, Read};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use volery_proto::zk::{Acl, Id, perms};

use crate::client::ClientOptions;
use crate::client::address::Servers;
use crate::{bench, command};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the service answered with an error, e.g. NONODE (its name is on stderr)
  2  wrong usage
  3  cannot connect, or the connection was lost
  4  the session expired
  5  anything else, e.g. a file that cannot be read

Data goes to stdout, everything else to stderr. Zxids and session ids are hexadecimal.

Examples:
  volery ls /
  volery -s zk1:2181,zk2:2181,zk3:2181/app get /config
  volery --json stat /config
  volery <command> --help";

/// A client for Volery and every other service that speaks ZooKeeper's protocol.
#[derive(Debug, Parser)]
#[command(name = "volery", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    /// The same as --server; stands before the command only.
    #[arg(short = 's', value_name = "SERVERS", hide = true)]
    server_short: Option<Servers>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
pub(crate) struct Global {
    // Not a comment for rustdoc, which takes the brackets for a link.
    #[arg(
        help = "host:port[,host:port...][/chroot]; before the command also -s",
        long,
        global = true,
        value_name = "SERVERS",
        env = "VOLERY_SERVER",
        default_value = "127.0.0.1:2181"
    )]
    server: Servers,
    /// Session time-out to ask for, and the longest wait for a connection.
    #[arg(long, global = true, default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// Print JSON: one document, or one a line; errors too, on stderr.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Credentials, e.g. digest:user:password; may be given several times.
    #[arg(long, global = true, value_name = "SCHEME:DATA", value_parser = credentials)]
    auth: Vec<(String, String)>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ls(command::ls::Arguments),
    Get(command::get::Arguments),
    Set(command::set::Arguments),
    Create(command::create::Arguments),
    Delete(command::delete::Arguments),
    Stat(command::stat::Arguments),
    Tree(command::tree::Arguments),
    Watch(command::watch::Arguments),
    Sync(command::sync::Arguments),
    Multi(command::multi::Arguments),
    Acl(command::acl::Arguments),
    Whoami(command::whoami::Arguments),
    Ephemerals(command::ephemerals::Arguments),
    #[command(name = "4lw")]
    FourLetterWord(command::four_letter_word::Arguments),
    Bench(bench::Arguments),
}

impl Cli {
    /// Where and how to connect.
    pub(crate) fn client_options(&self) -> ClientOptions {
        ClientOptions {
            servers: self.server_short.as_ref().unwrap_or(&self.global.server).clone(),
            timeout: self.global.timeout,
            auth: self.global.auth.clone(),
        }
    }
}

/// A duration such as `30s` or `1m 30s`, above zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    match duration.is_zero() {
        true => Err("must be more than zero".into()),
        false => Ok(duration),
    }
}

fn credentials(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((scheme, data)) if !scheme.is_empty() => Ok((scheme.into(), data.into())),
        _ => Err("expected SCHEME:DATA, e.g. digest:user:password".into()),
    }
}

/// The path of a znode.
pub(crate) fn znode_path(text: &str) -> Result<String, String> {
    volery_proto::path::validate(text).map_err(str::to_owned)?;
    Ok(text.to_owned())
}

/// Where a znode's data comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DataSource {
    Literal(String),
    Stdin,
    File(String),
}

impl DataSource {
    /// `-`, `@file`, `@@` for a text that begins with @, or the text itself.
    pub(crate) fn parse(text: &str) -> Result<DataSource, String> {
        Ok(match (text, text.strip_prefix('@')) {
            ("-", _) => DataSource::Stdin,
            (_, Some(rest)) if rest.starts_with('@') => DataSource::Literal(rest.to_owned()),
            (_, Some("")) => return Err("@ needs the name of a file".into()),
            (_, Some(file)) => DataSource::File(file.to_owned()),
            _ => DataSource::Literal(text.to_owned()),
        })
    }

    /// Reads it.
    pub(crate) fn read(&self) -> anyhow::Result<Bytes> {
        match self {
            DataSource::Literal(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            DataSource::File(file) => {
                Ok(fs::read(file).with_context(|| format!("cannot read {file}"))?.into())
            }
            DataSource::Stdin => {
                let mut data = Vec::new();
                io::stdin().read_to_end(&mut data).context("cannot read stdin")?;
                Ok(data.into())
            }
        }
    }
}

/// An ACL as ZooKeeper's tools write it: `scheme:id:perms[,scheme:id:perms...]`, perms of `rwcda`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AclArgument(pub(crate) Vec<Acl>);

impl AclArgument {
    /// Everybody may do everything.
    pub(crate) fn open() -> AclArgument {
        let id = Id { scheme: "world".into(), id: "anyone".into() };
        AclArgument(vec![Acl { perms: perms::ALL, id }])
    }

    pub(crate) fn parse(text: &str) -> Result<AclArgument, String> {
        text.split(',').map(acl_entry).collect::<Result<_, _>>().map(AclArgument)
    }
}

fn acl_entry(text: &str) -> Result<Acl, String> {
    let parts = text.split_once(':').and_then(|(scheme, rest)| {
        rest.rsplit_once(':').map(|(id, letters)| (scheme, id, letters))
    });
    let Some((scheme, id, letters)) = parts else {
        return Err(format!("{text}: expected SCHEME:ID:PERMS, e.g. world:anyone:rwcda"));
    };
    let mut bits = 0;
    for letter in letters.chars() {
        bits |= match letter {
            'r' => perms::READ,
            'w' => perms::WRITE,
            'c' => perms::CREATE,
            'd' => perms::DELETE,
            'a' => perms::ADMIN,
            _ => return Err(format!("{letter} is not a permission: use letters of rwcda")),
        };
    }
    Ok(Acl { perms: bits, id: Id { scheme: scheme.into(), id: id.into() } })
}

/// Permission bits as letters.
pub(crate) fn permission_letters(bits: i32) -> String {
    let letters = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    letters.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{} has no examples", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn the_server_may_stand_on_either_side() {
        for line in [
            "volery -s h:1/x ls -s /",
            "volery --server h:1/x ls /",
            "volery ls / --server h:1/x",
            "volery ls --server=h:1/x --json /",
        ] {
            assert_eq!(parse(line).client_options().servers.to_string(), "h:1/x", "{line}");
        }
    }

    #[test]
    fn global_options() {
        let cli = parse("volery --timeout 1500ms --auth digest:u:p get /a --auth x:y");
        let options = cli.client_options();
        assert_eq!(options.timeout, Duration::from_millis(1500));
        assert!(options.auth.contains(&("x".into(), "y".into())), "{:?}", options.auth);
        assert!(Cli::try_parse_from(["volery", "--timeout", "0s", "ls"]).is_err());
        assert!(Cli::try_parse_from(["volery", "--auth", "x", "ls"]).is_err());
        assert!(Cli::try_parse_from(["volery", "get", "a/b"]).is_err());
    }

    #[test]
    fn bench_arguments_have_bounds() {
        parse("volery bench --op multi2 --roots 4 --warmup 0s --server-pid 1,2 --cleanup");
        for wrong in ["--op fly", "--sessions 0", "--write-percent 101", "--duration 0s"] {
            let line = format!("volery bench {wrong}");
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{wrong}");
        }
    }

    #[test]
    fn data_sources() {
        assert_eq!(DataSource::parse("-"), Ok(DataSource::Stdin));
        assert_eq!(DataSource::parse("@f"), Ok(DataSource::File("f".into())));
        assert_eq!(DataSource::parse("@@f"), Ok(DataSource::Literal("@f".into())));
        assert_eq!(DataSource::parse(""), Ok(DataSource::Literal(String::new())));
        assert!(DataSource::parse("@").is_err());
    }

    #[test]
    fn acls() {
        let AclArgument(acl) = AclArgument::parse("world:anyone:r,digest:u:h=:cdrwa").expect("acl");
        assert_eq!(acl[0].perms, perms::READ);
        assert_eq!((acl[1].id.id.as_ref(), acl[1].perms), ("u:h=", perms::ALL));
        assert_eq!(permission_letters(acl[1].perms), "cdrwa");
        for wrong in ["", "world", "world:anyone", "world:anyone:x"] {
            assert!(AclArgument::parse(wrong).is_err(), "{wrong}");
        }
    }
}
