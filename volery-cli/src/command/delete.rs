//! `volery delete`: removes a znode, or a subtree.
//! It never removes a subtree without -R, and never the root.
//! Called by `command::run`.

use clap::Args;
use serde_json::json;

use crate::args::znode_path;
use crate::client::Client;
use crate::client::walk::delete_all;
use crate::output::{Output, Usage};

/// Delete a znode.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery delete /app/old
  volery delete /app/old --version 3     only if it is at version 3
  volery delete -R /app                  with all below it, children first")]
pub(crate) struct Arguments {
    #[arg(value_parser = znode_path)]
    path: String,
    /// The version that it must have.
    #[arg(
        long,
        default_value_t = -1,
        hide_default_value = true,
        allow_negative_numbers = true,
        conflicts_with = "recursive"
    )]
    version: i32,
    /// The whole subtree.
    #[arg(short = 'R', long)]
    recursive: bool,
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    if a.path == "/" {
        return Err(Usage("the root cannot be deleted".into()).into());
    }
    let deleted = if a.recursive {
        let report =
            |done: usize, of: usize| output.progress(|| format!("{done} of {of} znodes deleted"));
        delete_all(client, &a.path, report).await?
    } else {
        client.start_delete(&a.path, a.version).await?.done().await?;
        1
    };
    if output.json {
        output.document(&json!({ "path": a.path, "deleted": deleted }))?;
    } else if a.recursive {
        output.note(format_args!("{deleted} znodes deleted"));
    }
    Ok(())
}
