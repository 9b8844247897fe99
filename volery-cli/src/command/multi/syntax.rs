//! The two ways to write a multi: arguments separated by `--`, and JSON lines.
//! It reads files only where an operation's data names one.
//! Called by `volery multi`.

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use serde::Deserialize;
use volery_proto::zk::{
    CheckVersionRequest, CreateRequest, DeleteRequest, MultiOp, SetDataRequest,
};

use crate::args::{AclArgument, DataSource, znode_path};
use crate::client::operations::CreateMode;
use crate::command::create::NodeArguments;
use crate::output::{Usage, from_base64};

/// One operation of the command line.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, name = "multi", disable_help_flag = true)]
#[command(disable_help_subcommand = true)]
enum Operation {
    Create(NodeArguments),
    Set {
        #[arg(value_parser = znode_path)]
        path: String,
        #[arg(value_parser = DataSource::parse)]
        data: DataSource,
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        version: i32,
    },
    Delete {
        #[arg(value_parser = znode_path)]
        path: String,
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        version: i32,
    },
    Check {
        #[arg(value_parser = znode_path)]
        path: String,
        #[arg(allow_negative_numbers = true)]
        version: i32,
    },
}

/// Operations from arguments, separated by `--`.
pub(super) fn from_arguments(arguments: &[String]) -> anyhow::Result<Vec<MultiOp>> {
    let groups = arguments.split(|argument| argument == "--").filter(|group| !group.is_empty());
    groups.enumerate().map(|(i, group)| from_group(group, i + 1)).collect()
}

fn from_group(group: &[String], number: usize) -> anyhow::Result<MultiOp> {
    let operation = Operation::try_parse_from(group).map_err(|error| {
        let text = error.to_string();
        let reason: Vec<&str> =
            text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let reason = reason.join(" ");
        let reason = reason.trim_start_matches("error: ");
        Usage(format!("operation {number} ({}): {reason}", group.join(" ")))
    })?;
    Ok(match operation {
        Operation::Create(node) => {
            node.check_path()?;
            let (AclArgument(acl), data) = (node.acl(), Some(node.read_data()?));
            let path = node.path.as_str().into();
            node.mode().operation(CreateRequest { path, data, acl, flags: 0 })
        }
        Operation::Set { path, data, version } => MultiOp::SetData(SetDataRequest {
            path: path.into(),
            data: Some(data.read()?),
            version,
        }),
        Operation::Delete { path, version } => {
            MultiOp::Delete(DeleteRequest { path: path.into(), version })
        }
        Operation::Check { path, version } => {
            MultiOp::Check(CheckVersionRequest { path: path.into(), version })
        }
    })
}

fn any_version() -> i32 {
    -1
}

/// One line of a file.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[serde(deny_unknown_fields)]
enum Line {
    Create {
        path: String,
        data: Option<String>,
        data_base64: Option<String>,
        #[serde(default)]
        ephemeral: bool,
        #[serde(default)]
        sequential: bool,
        #[serde(default)]
        container: bool,
        ttl_ms: Option<i64>,
        acl: Option<String>,
    },
    Set {
        path: String,
        data: Option<String>,
        data_base64: Option<String>,
        #[serde(default = "any_version")]
        version: i32,
    },
    Delete {
        path: String,
        #[serde(default = "any_version")]
        version: i32,
    },
    Check {
        path: String,
        version: i32,
    },
}

/// Operations from JSON lines; empty lines are skipped.
pub(super) fn from_json_lines(text: &str) -> anyhow::Result<Vec<MultiOp>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| {
            from_line(line).map_err(|e| Usage(format!("line {}: {e:#}", i + 1)).into())
        })
        .collect()
}

fn from_line(line: &str) -> anyhow::Result<MultiOp> {
    let checked = |path: &str| znode_path(path).map_err(|why| Usage(format!("{path}: {why}")));
    Ok(match serde_json::from_str::<Line>(line)? {
        Line::Create { path, data, data_base64, ephemeral, sequential, container, ttl_ms, acl } => {
            checked(&if sequential { format!("{path}0") } else { path.clone() })?;
            let acl = acl.as_deref().map_or_else(|| Ok(AclArgument::open()), AclArgument::parse);
            let AclArgument(acl) = acl.map_err(Usage)?;
            let mode = CreateMode { ephemeral, sequential, container, ttl_ms };
            let data = Some(decoded(data, data_base64)?);
            mode.operation(CreateRequest { path: path.into(), data, acl, flags: 0 })
        }
        Line::Set { path, data, data_base64, version } => {
            checked(&path)?;
            let data = Some(decoded(data, data_base64)?);
            MultiOp::SetData(SetDataRequest { path: path.into(), data, version })
        }
        Line::Delete { path, version } => {
            checked(&path)?;
            MultiOp::Delete(DeleteRequest { path: path.into(), version })
        }
        Line::Check { path, version } => {
            checked(&path)?;
            MultiOp::Check(CheckVersionRequest { path: path.into(), version })
        }
    })
}

fn decoded(data: Option<String>, base64: Option<String>) -> anyhow::Result<Bytes> {
    match (data, base64) {
        (Some(_), Some(_)) => Err(Usage("data and dataBase64 exclude each other".into()).into()),
        (_, Some(base64)) => Ok(from_base64(&base64).context("dataBase64")?.into()),
        (data, None) => Ok(data.unwrap_or_default().into_bytes().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> anyhow::Result<Vec<MultiOp>> {
        from_arguments(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn operations_from_arguments() {
        let operations = parse("create /a x -- set /b y --version 3 -- delete /c -- check /d 3 --")
            .expect("valid");
        assert_eq!(operations.len(), 4);
        assert!(matches!(&operations[0], MultiOp::Create2(c)
            if &*c.path == "/a" && c.data.as_deref() == Some(b"x") && c.flags == 0));
        assert!(matches!(&operations[1], MultiOp::SetData(s) if s.version == 3));
        assert!(matches!(&operations[2], MultiOp::Delete(d) if d.version == -1));
        assert!(matches!(&operations[3], MultiOp::Check(c) if c.version == 3));
    }

    #[test]
    fn kinds_of_create() {
        let operations =
            parse("create -e -s /a -- create --ttl 2s /b -- create -c /c").expect("valid");
        assert!(matches!(&operations[0], MultiOp::Create2(c) if c.flags == 3));
        assert!(matches!(&operations[1], MultiOp::CreateTtl(c) if c.flags == 5 && c.ttl == 2000));
        assert!(matches!(&operations[2], MultiOp::CreateContainer(c) if c.flags == 4));
    }

    #[test]
    fn mistakes_name_the_operation() {
        let error = parse("create /a -- set /b").expect_err("no data").to_string();
        assert!(error.starts_with("operation 2 (set /b): "), "{error}");
        for line in ["fly /a", "create a", "check /a", "set /a x --version y", "create /a/"] {
            let error = parse(line).expect_err(line);
            assert!(error.is::<Usage>(), "{line}: {error}");
        }
    }

    #[test]
    fn the_separators_survive_the_command_line() {
        let line = "volery --json multi create /a x -- set /b y --version 3 -- delete /c";
        let cli = <Cli as Parser>::try_parse_from(line.split(' ')).expect("valid");
        let Command::Multi(a) = cli.command else { panic!("not a multi") };
        assert_eq!(from_arguments(&a.operations).expect("valid").len(), 3);
    }

    #[test]
    fn operations_from_json_lines() {
        let text = r#"
            {"op":"create","path":"/a","data":"x","ephemeral":true,"acl":"world:anyone:r"}
            {"op":"create","path":"/q/","sequential":true,"ttlMs":5}
            {"op":"set","path":"/b","dataBase64":"/wA=","version":3}

            {"op":"delete","path":"/c"}
            {"op":"check","path":"/d","version":3}"#;
        let operations = from_json_lines(text).expect("valid");
        assert_eq!(operations.len(), 5);
        assert!(matches!(&operations[0], MultiOp::Create2(c) if c.flags == 1));
        assert!(matches!(&operations[1], MultiOp::CreateTtl(c) if c.flags == 6 && c.ttl == 5));
        assert!(matches!(&operations[2], MultiOp::SetData(s)
            if s.data.as_deref() == Some(b"\xff\x00")));
        for wrong in [
            r#"{"op":"fly","path":"/a"}"#,
            r#"{"op":"check","path":"/a"}"#,
            r#"{"op":"set","path":"a"}"#,
            r#"{"op":"set","path":"/a","data":"x","dataBase64":"eA=="}"#,
            r#"{"op":"delete","path":"/a","extra":1}"#,
        ] {
            let error = from_json_lines(wrong).expect_err(wrong);
            assert!(error.to_string().starts_with("line 1: "), "{error}");
        }
    }
}
