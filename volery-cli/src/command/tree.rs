//! `volery tree`: a subtree drawn with lines.
//! It never reads data: sizes come from the Stats.
//! Called by `command::run`.

use clap::Args;
use serde_json::json;

use super::ls::by_component;
use crate::args::znode_path;
use crate::client::Client;
use crate::client::walk::{Node, walk};
use crate::output::{Output, Tone, hex};

/// Draw a subtree.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery tree
  volery tree /app --depth 2
  volery tree /app --data      with sizes, versions and the owners of ephemerals")]
pub(crate) struct Arguments {
    #[arg(default_value = "/", value_parser = znode_path)]
    path: String,
    /// Levels below the path.
    #[arg(short, long)]
    depth: Option<usize>,
    /// Size and version of the data.
    #[arg(long)]
    data: bool,
}

pub(crate) async fn run(a: &Arguments, client: &Client, output: &Output) -> anyhow::Result<()> {
    let report = |count: usize| output.progress(|| format!("{count} znodes"));
    let mut nodes = walk(client, &a.path, a.depth.unwrap_or(usize::MAX), report).await?;
    nodes.sort_unstable_by(|x, y| by_component(&x.path, &y.path));
    if output.json {
        for node in &nodes {
            output.document(&json!({
                "path": node.path,
                "depth": node.depth,
                "dataLength": node.stat.data_length,
                "version": node.stat.version,
                "numChildren": node.stat.num_children,
                "ephemeralOwner": hex(node.stat.ephemeral_owner),
            }))?;
        }
        return Ok(());
    }
    let prefixes = prefixes(&nodes.iter().map(|node| node.depth).collect::<Vec<_>>());
    for (node, prefix) in nodes.iter().zip(prefixes) {
        let hidden = a.depth == Some(node.depth);
        output.line(format_args!("{prefix}{}", label(node, a.data, hidden, output)))?;
    }
    output.flush()?;
    output.note(format_args!("{} znodes", nodes.len()));
    Ok(())
}

fn label(node: &Node, data: bool, hidden: bool, output: &Output) -> String {
    let name = match node.depth {
        0 => node.path.as_str(),
        _ => node.path.rsplit('/').next().unwrap_or_default(),
    };
    let stat = &node.stat;
    let mut text = match stat.ephemeral_owner {
        0 => name.to_owned(),
        _ => output.paint(Tone::Ephemeral, name),
    };
    let mut remarks = Vec::new();
    if data {
        remarks.push(format!("{} B, v{}", stat.data_length, stat.version));
        if stat.ephemeral_owner != 0 {
            remarks.push(format!("session {}", hex(stat.ephemeral_owner)));
        }
    }
    if hidden && stat.num_children > 0 {
        remarks.push(format!("{} children", stat.num_children));
    }
    if !remarks.is_empty() {
        text.push_str("  ");
        text.push_str(&output.paint(Tone::Faint, &format!("({})", remarks.join(", "))));
    }
    text
}

/// The lines in front of each znode of a depth-first list.
fn prefixes(depths: &[usize]) -> Vec<String> {
    let mut prefixes = vec![String::new(); depths.len()];
    // From the last line up: which depths still have a sibling further down.
    let mut open: Vec<bool> = Vec::new();
    for (i, &depth) in depths.iter().enumerate().rev() {
        open.truncate(depth + 1);
        open.resize(depth + 1, false);
        if depth > 0 {
            let stems = open[1..depth].iter().map(|&more| if more { "│  " } else { "   " });
            let branch = if open[depth] { "├─ " } else { "└─ " };
            prefixes[i] = stems.chain([branch]).collect();
        }
        open[depth] = true;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::prefixes;

    #[test]
    fn lines_connect_siblings() {
        // / a (b (c) d) e (f)
        let drawn = prefixes(&[0, 1, 2, 3, 2, 1, 2]);
        let expected = ["", "├─ ", "│  ├─ ", "│  │  └─ ", "│  └─ ", "└─ ", "   └─ "];
        assert_eq!(drawn, expected);
        assert!(prefixes(&[]).is_empty());
    }
}
