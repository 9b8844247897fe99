//! The commands, one file each: arguments, requests, output.
//! None of them touches a socket; all go through `Client`.
//! Called by `main`.

pub(crate) mod acl;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod ephemerals;
pub(crate) mod four_letter_word;
pub(crate) mod get;
pub(crate) mod ls;
pub(crate) mod multi;
pub(crate) mod set;
pub(crate) mod stat;
pub(crate) mod sync;
pub(crate) mod tree;
pub(crate) mod watch;
pub(crate) mod whoami;

use crate::args::Command;
use crate::client::{Client, ClientOptions};
use crate::output::Output;

/// Runs one command in a session of its own.
pub(crate) async fn run(
    command: &Command,
    options: ClientOptions,
    output: &Output,
) -> anyhow::Result<()> {
    match command {
        // These three connect in their own way.
        Command::FourLetterWord(a) => return four_letter_word::run(a, &options, output).await,
        Command::Watch(a) => return watch::run(a, &options, output).await,
        Command::Bench(_) => return Ok(()),
        _ => {}
    }
    let (client, events) = Client::connect(options).await?;
    drop(events);
    let result = dispatch(command, &client, output).await;
    // The session ends either way; the command's own error says more than the close's.
    let _ = client.close().await;
    result
}

async fn dispatch(command: &Command, client: &Client, output: &Output) -> anyhow::Result<()> {
    match command {
        Command::Ls(a) => ls::run(a, client, output).await,
        Command::Get(a) => get::run(a, client, output).await,
        Command::Set(a) => set::run(a, client, output).await,
        Command::Create(a) => create::run(a, client, output).await,
        Command::Delete(a) => delete::run(a, client, output).await,
        Command::Stat(a) => stat::run(a, client, output).await,
        Command::Tree(a) => tree::run(a, client, output).await,
        Command::Sync(a) => sync::run(a, client, output).await,
        Command::Multi(a) => multi::run(a, client, output).await,
        Command::Acl(a) => acl::run(a, client, output).await,
        Command::Whoami(a) => whoami::run(a, client, output).await,
        Command::Ephemerals(a) => ephemerals::run(a, client, output).await,
        Command::FourLetterWord(_) | Command::Watch(_) | Command::Bench(_) => Ok(()),
    }
}
