//! `volery multi`: several writes, all or nothing.
//! It never retries, and never runs a part of them.
//! Called by `command::run`.

mod syntax;

use std::fs;
use std::io::{self, Read};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use volery_proto::zk::{ErrorCode, MultiOp, MultiResult};

use crate::client::Client;
use crate::client::error::{ClientError, name_of};
use crate::output::{Output, Usage, hex, stat_document};

/// Run several operations, all or nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Operations, separated by --:
  create PATH [DATA] [-e] [-s] [-c] [--ttl 30s] [--acl ACL]
  set PATH DATA [--version N]
  delete PATH [--version N]
  check PATH VERSION

Examples:
  volery multi create /a x -- set /b y --version 3 -- delete /c -- check /d 3
  volery --json multi create /a x -- create /a/b    global options stand before the operations
  volery multi --file operations.jsonl              or - for stdin; one JSON object a line:
    {\"op\":\"create\",\"path\":\"/a\",\"data\":\"x\",\"ephemeral\":false,\"sequential\":false,
     \"container\":false,\"ttlMs\":30000,\"acl\":\"world:anyone:r\"}
    {\"op\":\"set\",\"path\":\"/b\",\"dataBase64\":\"/wA=\",\"version\":3}
    {\"op\":\"delete\",\"path\":\"/c\",\"version\":-1}
    {\"op\":\"check\",\"path\":\"/d\",\"version\":3}")]
pub(crate) struct Arguments {
    /// JSON lines instead of operations; - is stdin.
    #[arg(short, long, conflicts_with = "operations")]
    file: Option<String>,
    /// Operations, separated by --.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required_unless_present = "file")]
    operations: Vec<String>,
}

/// A multi that the service refused; nothing of it was done.
#[derive(Debug, thiserror::Error)]
#[error("nothing was done: operation {} ({}) failed: {} ({})", .index + 1, .operation,
    .cause, .cause.name())]
pub(crate) struct MultiFailed {
    /// From 0.
    index: usize,
    operation: String,
    cause: ClientError,
    codes: Vec<(String, i32)>,
}

impl MultiFailed {
    /// For scripts.
    pub(crate) fn document(&self, message: &str) -> Value {
        let results = self.codes.iter().map(
            |(operation, code)| json!({ "op": operation, "code": code, "name": name_of(*code) }),
        );
        json!({
            "name": self.cause.name(),
            "failed": self.index,
            "operation": self.operation,
            "operations": results.collect::<Vec<_>>(),
            "message": message,
        })
    }
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    let planned = match &a.file {
        Some(file) => syntax::from_json_lines(&read(file)?)?,
        None => syntax::from_arguments(&a.operations)?,
    };
    if planned.is_empty() {
        return Err(Usage("no operation given".into()).into());
    }
    let names: Vec<String> = planned.iter().map(name).collect();
    let operations = planned.into_iter().map(|op| with_full_path(op, client)).collect();
    let results = client.multi(operations).await?;
    if let Some(failed) = failure(&names, &results) {
        return Err(failed.into());
    }
    for (name, result) in names.iter().zip(&results) {
        match output.json {
            true => output.document(&document(name, result, client))?,
            false => output.line(text(name, result, client))?,
        }
    }
    Ok(())
}

fn read(file: &str) -> anyhow::Result<String> {
    if file != "-" {
        return fs::read_to_string(file).with_context(|| format!("cannot read {file}"));
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
    Ok(text)
}

fn name(operation: &MultiOp) -> String {
    let kind = match operation {
        MultiOp::Create(_)
        | MultiOp::Create2(_)
        | MultiOp::CreateContainer(_)
        | MultiOp::CreateTtl(_) => "create",
        MultiOp::Delete(_) => "delete",
        MultiOp::SetData(_) => "set",
        MultiOp::Check(_) => "check",
    };
    format!("{kind} {}", operation.path())
}

fn with_full_path(mut operation: MultiOp, client: &Client) -> MultiOp {
    let path = match &mut operation {
        MultiOp::Create(c) | MultiOp::Create2(c) | MultiOp::CreateContainer(c) => &mut c.path,
        MultiOp::CreateTtl(c) => &mut c.path,
        MultiOp::Delete(d) => &mut d.path,
        MultiOp::SetData(s) => &mut s.path,
        MultiOp::Check(c) => &mut c.path,
    };
    *path = client.full(path);
    operation
}

/// The operation that made the multi fail: the first whose code is its own.
fn failure(names: &[String], results: &[MultiResult]) -> Option<MultiFailed> {
    let code_of = |result: &MultiResult| match result {
        MultiResult::Error(code) => *code,
        _ => ErrorCode::Ok,
    };
    let own = |code| code != ErrorCode::Ok && code != ErrorCode::RuntimeInconsistency;
    let index = results.iter().position(|result| own(code_of(result))).or_else(|| {
        results.iter().position(|result| code_of(result) == ErrorCode::RuntimeInconsistency)
    })?;
    let operation = names.get(index).cloned().unwrap_or_default();
    let path = operation.split_once(' ').map_or("", |(_, path)| path).to_owned();
    let codes = results.iter().map(|result| code_of(result).code());
    Some(MultiFailed {
        index,
        operation,
        cause: ClientError::Server { code: code_of(&results[index]).code(), path },
        codes: names.iter().cloned().zip(codes).collect(),
    })
}

fn document(name: &str, result: &MultiResult, client: &Client) -> Value {
    let mut document = json!({ "op": name });
    match result {
        MultiResult::Create(made) => document["path"] = client.local(&made.path).into(),
        MultiResult::Create2(made) => {
            document["path"] = client.local(&made.path).into();
            document["stat"] = stat_document(&made.stat);
        }
        MultiResult::SetData(stat) => document["stat"] = stat_document(stat),
        _ => {}
    }
    document
}

fn text(name: &str, result: &MultiResult, client: &Client) -> String {
    match result {
        MultiResult::Create(made) => format!("create {}", client.local(&made.path)),
        MultiResult::Create2(made) => {
            format!("create {}  zxid {}", client.local(&made.path), hex(made.stat.czxid))
        }
        MultiResult::SetData(stat) => format!("{name}  version {}", stat.version),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_operation_is_named() {
        let names = ["create /a".to_owned(), "set /b".to_owned(), "delete /c".to_owned()];
        let results = [ErrorCode::Ok, ErrorCode::BadVersion, ErrorCode::RuntimeInconsistency]
            .map(MultiResult::Error);
        let failed = failure(&names, &results).expect("a failure");
        assert_eq!(
            failed.to_string(),
            "nothing was done: operation 2 (set /b) failed: /b has another version (BADVERSION)"
        );
        let document = failed.document("m");
        assert_eq!(document["name"], "BADVERSION");
        assert_eq!(document["operations"][2]["name"], "RUNTIMEINCONSISTENCY");
        assert!(failure(&names, &[MultiResult::Delete, MultiResult::Check]).is_none());
    }
}
