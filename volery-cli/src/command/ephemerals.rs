//! `volery ephemerals`: znodes that live as long as a session.
//! The protocol only tells a session its own; for all others it reads the tree's Stats.
//! Called by `command::run`.

use clap::Args;
use serde_json::json;

use crate::args::znode_path;
use crate::client::Client;
use crate::client::walk::walk;
use crate::output::{Output, hex};

/// List the ephemeral znodes below a path with the sessions that own them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery ephemerals                     all of the service (reads every znode's Stat)
  volery ephemerals /services
  volery ephemerals --own /             only those of this command's session: asks for no walk")]
pub(crate) struct Arguments {
    #[arg(default_value = "/", value_parser = znode_path)]
    path: String,
    /// Ask the server for this session's own ones (getEphemerals).
    #[arg(long)]
    own: bool,
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    let found: Vec<(String, i64)> = if a.own {
        let own = client.ephemerals(&a.path).await?;
        own.into_iter().map(|path| (path, client.session())).collect()
    } else {
        let report = |count: usize| output.progress(|| format!("{count} znodes read"));
        let nodes = walk(client, &a.path, usize::MAX, report).await?;
        let ephemerals = nodes.into_iter().filter(|node| node.stat.ephemeral_owner != 0);
        ephemerals.map(|node| (node.path, node.stat.ephemeral_owner)).collect()
    };
    for (path, session) in found {
        match output.json {
            true => output.document(&json!({ "path": path, "session": hex(session) }))?,
            false => output.line(format_args!("{:<18}  {path}", hex(session)))?,
        }
    }
    Ok(())
}
