//! `volery set`: replaces the data of a znode.
//! It never creates one.
//! Called by `command::run`.

use clap::Args;
use serde_json::json;

use crate::args::{DataSource, znode_path};
use crate::client::Client;
use crate::output::{Output, stat_document};

/// Replace the data of a znode; prints its new version.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery set /config 'debug=1'
  volery set /config @config.json        the content of a file
  volery set /config - < config.json     from stdin
  volery set /config x --version 3       only if nobody else wrote since version 3")]
pub(crate) struct Arguments {
    #[arg(value_parser = znode_path)]
    path: String,
    /// Text, - for stdin, @FILE for a file (@@ for a text that begins with @).
    #[arg(value_parser = DataSource::parse)]
    data: DataSource,
    /// The version that it must have.
    #[arg(long, default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
    version: i32,
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    let stat = client.set(&a.path, a.data.read()?, a.version).await?;
    match output.json {
        true => output.document(&json!({ "path": a.path, "stat": stat_document(&stat) }))?,
        false => output.line(stat.version)?,
    }
    Ok(())
}
