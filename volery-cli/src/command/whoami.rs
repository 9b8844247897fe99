//! `volery whoami`: the identities that the service sees in us.
//! It changes nothing.
//! Called by `command::run`.

use clap::Args;
use serde_json::{Value, json};

use crate::client::Client;
use crate::output::{Output, hex};

/// Print the identities of the connection, one a line.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery whoami
  volery --auth digest:user:password whoami")]
pub(crate) struct Arguments {}

pub(crate) async fn run(_: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    let found = client.who_am_i().await?;
    if output.json {
        let infos = found.infos.iter();
        let ids: Vec<Value> =
            infos.map(|i| json!({ "scheme": &*i.scheme, "id": &*i.user })).collect();
        let document = json!({ "session": hex(client.session()), "identities": ids });
        return Ok(output.document(&document)?);
    }
    for info in &found.infos {
        output.line(format_args!("{}:{}", info.scheme, info.user))?;
    }
    Ok(())
}
