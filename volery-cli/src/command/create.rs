//! `volery create`: makes a znode of any kind.
//! It never changes one that exists.
//! Called by `command::run`.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use volery_proto::path::split;
use volery_proto::zk::ErrorCode;

use crate::args::{AclArgument, DataSource, duration};
use crate::client::Client;
use crate::client::operations::CreateMode;
use crate::output::{Output, Usage, stat_document};

/// Create a znode; prints its path.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery create /app
  volery create -p /app/config/db 'host=db1'
  volery create /app/blob @picture.png
  volery create -s /queue/item-                     a number is appended: /queue/item-0000000007
  volery create -e --hold /services/web-1 10.0.0.7  until Ctrl-C
  volery create --ttl 30s /cache/x                  goes when it is not changed for 30 s
  volery create --acl world:anyone:r /public")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) node: NodeArguments,
    /// Parents that are missing as well, without data.
    #[arg(short, long)]
    parents: bool,
    /// Keep the session (and with it an ephemeral znode) until Ctrl-C.
    #[arg(long)]
    hold: bool,
}

/// The znode to create; `multi` takes the same.
#[derive(Args, Debug)]
pub(crate) struct NodeArguments {
    pub(crate) path: String,
    /// Text, - for stdin, @FILE for a file (@@ for a text that begins with @).
    #[arg(value_parser = DataSource::parse)]
    pub(crate) data: Option<DataSource>,
    /// Goes with the session.
    #[arg(short, long)]
    pub(crate) ephemeral: bool,
    /// A number is appended to the name.
    #[arg(short, long)]
    pub(crate) sequential: bool,
    /// Goes some time after its last child went.
    #[arg(short, long, conflicts_with_all = ["ephemeral", "sequential"])]
    pub(crate) container: bool,
    /// Goes when it has no children and was not changed for that long.
    #[arg(long, value_parser = duration, conflicts_with_all = ["ephemeral", "container"])]
    pub(crate) ttl: Option<Duration>,
    /// SCHEME:ID:PERMS[,...], PERMS of rwcda; default: world:anyone:rwcda.
    #[arg(long, value_parser = AclArgument::parse)]
    pub(crate) acl: Option<AclArgument>,
}

impl NodeArguments {
    pub(crate) fn mode(&self) -> CreateMode {
        let ttl = self.ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        CreateMode {
            ephemeral: self.ephemeral,
            sequential: self.sequential,
            container: self.container,
            ttl_ms: ttl,
        }
    }

    pub(crate) fn acl(&self) -> AclArgument {
        self.acl.clone().unwrap_or_else(AclArgument::open)
    }

    /// A znode without data argument has empty data, as ZooKeeper's own tools do it.
    pub(crate) fn read_data(&self) -> anyhow::Result<Bytes> {
        self.data.as_ref().map_or(Ok(Bytes::new()), DataSource::read)
    }

    /// Paths of sequential znodes may end with /: the number is the whole name then.
    pub(crate) fn check_path(&self) -> Result<(), Usage> {
        let path = match self.sequential {
            true => format!("{}0", self.path),
            false => self.path.clone(),
        };
        volery_proto::path::validate(&path).map_err(|why| Usage(format!("{}: {why}", self.path)))
    }
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    let node = &a.node;
    node.check_path()?;
    let (AclArgument(acl), data) = (node.acl(), Some(node.read_data()?));
    let mut made = client.create(&node.path, data.clone(), acl.clone(), node.mode()).await;
    if let (true, Err(error)) = (a.parents, &made)
        && error.code() == Some(ErrorCode::NoNode)
    {
        create_parents(client, &node.path, node).await?;
        made = client.create(&node.path, data, acl, node.mode()).await;
    }
    let (path, stat) = made?;
    match output.json {
        true => output.document(&json!({ "path": path, "stat": stat_document(&stat) }))?,
        false => output.line(&path)?,
    }
    if a.hold {
        output.flush()?;
        output.note(format_args!("holding session 0x{:x} until Ctrl-C", client.session()));
        hold(client).await?;
    } else if node.ephemeral {
        output.note("the session ends now, and the znode with it; --hold keeps it");
    }
    Ok(())
}

/// Creates what is missing above `path`, from the top.
async fn create_parents(client: &Client, path: &str, node: &NodeArguments) -> anyhow::Result<()> {
    let AclArgument(acl) = node.acl();
    let parent = split(path).map_or("/", |(parent, _)| parent);
    for (at, _) in parent.match_indices('/').skip(1).chain([(parent.len(), "")]) {
        let made = client.create(&parent[..at], None, acl.clone(), CreateMode::default()).await;
        match made {
            Ok(_) => {}
            Err(error) if error.code() == Some(ErrorCode::NodeExists) => {}
            // Above a znode that we may not create in there may still be the one we need.
            Err(error) if error.code() == Some(ErrorCode::NoAuth) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn hold(client: &Client) -> anyhow::Result<()> {
    tokio::select! {
        signal = tokio::signal::ctrl_c() => Ok(signal?),
        () = client.ended() => Err(client.end_error().into()),
    }
}
