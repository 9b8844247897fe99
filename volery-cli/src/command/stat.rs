//! `volery stat`: the metadata of a znode.
//! It never reads data.
//! Called by `command::run`.

use clap::Args;
use serde_json::json;

use crate::args::znode_path;
use crate::client::Client;
use crate::output::{Output, stat_document, stat_text};

/// Print the Stat of a znode.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery stat /config
  volery stat /config > /dev/null && echo there     exit code 1: no such znode
  volery stat --json /config")]
pub(crate) struct Arguments {
    #[arg(value_parser = znode_path)]
    path: String,
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    let stat = client.stat(&a.path).await?;
    match output.json {
        true => output.document(&json!({ "path": a.path, "stat": stat_document(&stat) }))?,
        false => output.line(stat_text(&stat))?,
    }
    Ok(())
}
