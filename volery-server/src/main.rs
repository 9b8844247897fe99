//! The server binary: reads the configuration, sets up logging, and runs a node.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use volery_server::config::{self, Flags, LogFormat};
use volery_server::node;

/// A coordination service that speaks ZooKeeper's protocol over a partitioned tree.
///
/// Examples:
///   volery-server                 serve on port 2181, data in ./volery-data
///   volery-server /etc/zoo.cfg    an existing standalone ZooKeeper configuration
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// A zoo.cfg; without one, the defaults.
    config: Option<PathBuf>,
    /// Print every configuration key that has an effect, and end.
    #[arg(long)]
    help_config: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.help_config {
        print!("{}", config::keys::help());
        return ExitCode::SUCCESS;
    }
    let loaded = match config::load(args.config.as_deref(), &Flags::from_env()) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("volery-server: {error}");
            return ExitCode::from(2);
        }
    };
    let log = &loaded.config.log;
    let filter =
        EnvFilter::try_from_env("VOLERY_LOG").unwrap_or_else(|_| EnvFilter::new(&log.level));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match node::run(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("volery-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}
