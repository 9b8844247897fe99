//! `volery get`: the data of a znode.
//! It prints the bytes as they are, and never adds to them in a pipe.
//! Called by `command::run`.

use clap::Args;
use serde_json::{Map, Value};

use crate::args::znode_path;
use crate::client::Client;
use crate::output::{Output, put_data, stat_document, stat_text};

/// Print the data of a znode.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery get /config > config.json       exactly the bytes
  volery get --stat /config              the Stat goes to stderr
  volery get --json /config              data as text, or dataBase64 where it is not UTF-8")]
pub(crate) struct Arguments {
    #[arg(value_parser = znode_path)]
    path: String,
    /// The Stat as well.
    #[arg(long)]
    stat: bool,
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    let found = client.get(&a.path).await?;
    if output.json {
        let mut document = Map::new();
        document.insert("path".into(), a.path.as_str().into());
        put_data(&mut document, found.data.as_deref());
        if a.stat {
            document.insert("stat".into(), stat_document(&found.stat));
        }
        return Ok(output.document(&Value::Object(document))?);
    }
    output.raw(found.data.as_deref().unwrap_or_default())?;
    output.flush()?;
    if a.stat {
        output.note(stat_text(&found.stat));
    }
    Ok(())
}
