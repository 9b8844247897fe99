//! Stub.
use crate::client::ClientOptions;
use crate::output::Output;
/// Load. Example
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:")]
pub(crate) struct Arguments {}
pub(crate) fn run(_: &Arguments, _: &ClientOptions, _: &Output) -> anyhow::Result<()> {
    Ok(())
}
