//! `volery watch`: prints what happens to a znode, one event a line, until Ctrl-C.
//! Lost connections and expired sessions do not end it: it says so and registers again.
//! Called by `command::run`.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::args::znode_path;
use crate::client::error::ClientError;
use crate::client::watch::{Event, EventKind, WatchMode};
use crate::client::{Client, ClientOptions};
use crate::output::{Output, Tone, hex};

/// Pause before a new session is tried, after one was lost.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Print the changes of a znode as they happen.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  volery watch /config                       data, creation, deletion, list of children
  volery watch -R /app                       everything at and below /app
  volery --json watch -R /app | jq .path     one JSON document an event

Ends with Ctrl-C, exit code 0. Events may be missed while the connection is away; notes on stderr
say when. The zxid is absent with servers before ZooKeeper 3.9, which do not send it.")]
pub(crate) struct Arguments {
    #[arg(value_parser = znode_path)]
    path: String,
    /// All znodes below it, too.
    #[arg(short = 'R', long)]
    recursive: bool,
}

pub(crate) async fn run(
    a: &Arguments,
    options: &ClientOptions,
    output: &Output,
) -> anyhow::Result<()> {
    // The first session must work: a wrong address is an error, not something to wait for.
    let mut session = Some(open(a, options).await?);
    output.note(format_args!("watching {}; Ctrl-C ends", a.path));
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let Some((client, events)) = &mut session else {
            tokio::select! {
                signal = &mut interrupt => return Ok(signal?),
                () = sleep(RETRY_PAUSE) => {}
            }
            session = tokio::select! {
                signal = &mut interrupt => return Ok(signal?),
                opened = open(a, options) => match opened {
                    Ok(opened) => Some(opened),
                    Err(error @ ClientError::Server { .. }) => return Err(error.into()),
                    Err(_) => None,
                }
            };
            if session.is_some() {
                output.note("watching again, in a new session");
            }
            continue;
        };
        tokio::select! {
            signal = &mut interrupt => {
                let _ = tokio::time::timeout(RETRY_PAUSE, client.close()).await;
                return Ok(signal?);
            }
            event = events.recv() => match event {
                Some(event) => print(&event, output)?,
                None => session = None,
            }
        }
    }
}

async fn open(
    a: &Arguments,
    options: &ClientOptions,
) -> Result<(Client, mpsc::Receiver<Event>), ClientError> {
    let (client, events) = Client::connect(options.clone()).await?;
    let mode = if a.recursive { WatchMode::Recursive } else { WatchMode::Persistent };
    client.add_watch(&a.path, mode).await?;
    Ok((client, events))
}

fn print(event: &Event, output: &Output) -> anyhow::Result<()> {
    match event {
        Event::Fired { kind, path, zxid } => {
            if output.json {
                let zxid = (*zxid >= 0).then(|| hex(*zxid));
                output.document(&json!({ "event": kind.name(), "path": path, "zxid": zxid }))?;
            } else {
                output.line(text(*kind, path, *zxid, output))?;
            }
            output.flush()?;
        }
        Event::Disconnected { address } => output.note(format_args!("lost {address}")),
        Event::Reconnected { address } => output.note(format_args!(
            "watching again at {address}; changes of the time between were not seen"
        )),
        Event::Expired => output.note("the session expired"),
    }
    Ok(())
}

fn text(kind: EventKind, path: &str, zxid: i64, output: &Output) -> String {
    let tone = match kind {
        EventKind::Created => Tone::Good,
        EventKind::Deleted => Tone::Bad,
        _ => Tone::Notice,
    };
    let name = output.paint(tone, &format!("{:<16}", kind.name()));
    let zxid = if zxid >= 0 { hex(zxid) } else { "-".to_owned() };
    format!("{name} {zxid:<18} {path}")
}
