//! `volery acl get|set`: who may do what.
//! It never touches credentials.
//! Called by `command::run`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::args::{AclArgument, znode_path};
use crate::client::Client;
use crate::output::{Output, acl_text, stat_document};

/// Read or replace the ACL of a znode.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery acl get /config
  volery acl set /config world:anyone:r,auth::rwcda")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the ACL, one entry a line.
    #[command(after_help = "Examples:\n  volery acl get /config")]
    Get {
        #[arg(value_parser = znode_path)]
        path: String,
    },
    /// Replace the ACL; prints its new version.
    #[command(after_help = "\
Examples:
  volery acl set /config world:anyone:rwcda
  volery --auth digest:user:password acl set /config auth::rwcda
  volery acl set /config ip:10.0.0.0/8:r --version 2")]
    Set {
        #[arg(value_parser = znode_path)]
        path: String,
        /// SCHEME:ID:PERMS[,...], PERMS: read write create delete admin.
        #[arg(value_parser = AclArgument::parse)]
        acl: AclArgument,
        /// The ACL's version that it must have.
        #[arg(long, default_value_t = -1, hide_default_value = true, allow_negative_numbers = true)]
        version: i32,
    },
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    match &a.action {
        Action::Get { path } => {
            let found = client.get_acl(path).await?;
            if output.json {
                let entries: Vec<Value> = found.acl.iter().map(|e| acl_text(e).into()).collect();
                let stat = stat_document(&found.stat);
                let document = json!({ "path": path, "acl": entries, "stat": stat });
                return Ok(output.document(&document)?);
            }
            for entry in &found.acl {
                output.line(acl_text(entry))?;
            }
        }
        Action::Set { path, acl, version } => {
            let stat = client.set_acl(path, acl.0.clone(), *version).await?;
            match output.json {
                true => output.document(&json!({ "path": path, "stat": stat_document(&stat) }))?,
                false => output.line(stat.aversion)?,
            }
        }
    }
    Ok(())
}
