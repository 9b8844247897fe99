//! `volery sync`: a barrier between this server and the latest write.
//! It changes nothing.
//! Called by `command::run`.

use clap::Args;
use serde_json::json;

use crate::args::znode_path;
use crate::client::Client;
use crate::output::Output;

/// Wait until the server that we talk to has everything that was written before.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery sync
  volery sync /app")]
pub(crate) struct Arguments {
    #[arg(default_value = "/", value_parser = znode_path)]
    path: String,
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    client.sync(&a.path).await?;
    if output.json {
        output.document(&json!({ "path": a.path, "synced": true }))?;
    }
    Ok(())
}
