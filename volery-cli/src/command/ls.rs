//! `volery ls`: children of a znode, or a whole subtree.
//! It never reads data.
//! Called by `command::run`.

use std::cmp::Ordering;

use clap::Args;
use serde_json::{Value, json};
use volery_proto::zk::Stat;

use crate::args::znode_path;
use crate::client::Client;
use crate::client::walk::walk;
use crate::output::{Output, Tone, date, stat_document, stat_text};

/// List the children of a znode.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery ls /
  volery ls -R /app            every znode at and below /app, full paths
  volery ls -s /app            each child with its version, size and date
  volery ls -R --json /app     one JSON document a znode")]
pub(crate) struct Arguments {
    #[arg(default_value = "/", value_parser = znode_path)]
    path: String,
    /// The whole subtree.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// With the Stat of every znode that is listed.
    #[arg(short, long)]
    stat: bool,
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    if a.recursive {
        return subtree(a, client, output).await;
    }
    let mut found = client.children(&a.path).await?;
    found.children.sort_unstable();
    if output.json {
        let names: Vec<&str> = found.children.iter().map(AsRef::as_ref).collect();
        let mut document = json!({ "path": a.path, "children": names });
        if a.stat {
            document["stat"] = stat_document(&found.stat);
        }
        return Ok(output.document(&document)?);
    }
    if !a.stat {
        for name in &found.children {
            output.line(name)?;
        }
        return Ok(());
    }
    for node in walk(client, &a.path, 1, |_| {}).await?.into_iter().filter(|n| n.depth == 1) {
        let name = node.path.rsplit('/').next().unwrap_or_default();
        output.line(row(output, &node.stat, name))?;
    }
    output.note(stat_text(&found.stat));
    Ok(())
}

async fn subtree(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    let report = |count: usize| output.progress(|| format!("{count} znodes"));
    let mut nodes = walk(client, &a.path, usize::MAX, report).await?;
    nodes.sort_unstable_by(|x, y| by_component(&x.path, &y.path));
    for node in &nodes {
        match (output.json, a.stat) {
            (true, with_stat) => {
                let stat = if with_stat { stat_document(&node.stat) } else { Value::Null };
                let mut document = json!({ "path": node.path, "stat": stat });
                if let (false, Some(map)) = (with_stat, document.as_object_mut()) {
                    map.remove("stat");
                }
                output.document(&document)?;
            }
            (false, true) => output.line(row(output, &node.stat, &node.path))?,
            (false, false) => output.line(&node.path)?,
        }
    }
    Ok(())
}

/// A parent first, then its children by name, each with all that is below it.
pub(super) fn by_component(a: &str, b: &str) -> Ordering {
    a.split('/').filter(|c| !c.is_empty()).cmp(b.split('/').filter(|c| !c.is_empty()))
}

fn row(output: &Output, stat: &Stat, name: &str) -> String {
    let name = match stat.ephemeral_owner {
        0 => name.to_owned(),
        _ => output.paint(Tone::Ephemeral, name),
    };
    let (version, size, children) = (stat.version, stat.data_length, stat.num_children);
    format!("v{version:<6} {size:>9} B {children:>7} children  {}  {name}", date(stat.mtime))
}

#[cfg(test)]
mod tests {
    use super::by_component;

    #[test]
    fn subtrees_stay_together() {
        let mut paths = ["/a-b", "/a/c", "/", "/a", "/a/b/c", "/a/b"];
        paths.sort_by(|x, y| by_component(x, y));
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c", "/a/c", "/a-b"]);
    }
}
