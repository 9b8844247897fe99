//! The server binary: reads the configuration, sets up logging, and runs a node.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use volery_server::config::{self, Flags};
use volery_server::{node, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A coordination service that speaks ZooKeeper's protocol over a partitioned tree.
///
/// Examples:
///   volery-server                 serve on port 2181, data in ./volery-data
///   volery-server /etc/zoo.cfg    an existing standalone ZooKeeper configuration
#[derive(Parser)]
#[command(version, verbatim_doc_comment, after_help = AFTER_HELP)]
struct Args {
    /// A zoo.cfg; without one, the defaults.
    config: Option<PathBuf>,
    /// Print every configuration key that has an effect, and end.
    #[arg(long)]
    help_config: bool,
}

const AFTER_HELP: &str = "\
Environment:
  VOLERY_LOG              what is logged, over log.level: info,volery_server::node=debug
  SERVER_JVMFLAGS, JVMFLAGS
                          -Dkey=value settings, as ZooKeeper's scripts pass them

Exit status:
  0  stopped by SIGTERM or SIGINT, everything acknowledged is on disk
  1  a failure, at the start or later; the last line of the log says which
  2  the command line or the configuration is wrong; nothing was touched
  71 the system gives no random bytes
  74 the log can no longer be written: see to the disk before the next start
";

/// The exit code of a wrong command line or configuration; clap's own.
const BAD_CONFIGURATION: u8 = 2;

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
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let variable = std::env::var(telemetry::logging::VARIABLE).ok();
    if let Err(error) = telemetry::logging::init(&loaded.config.log, variable.as_deref()) {
        eprintln!("volery-server: {error}");
        return ExitCode::from(BAD_CONFIGURATION);
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "volery-server starts");
    // Buffers come and go by the megabyte. With huge pages the kernel would zero two megabytes
    // whenever the allocator touches one that it gave back: half of a busy cluster's CPU.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "transparent huge pages cannot be turned off");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    match node::run(loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<node::StartAnew>() => {
            tracing::info!("{error}");
            start_anew()
        }
        Err(error) => {
            let text = with_causes(&error);
            if tracing::enabled!(tracing::Level::ERROR) {
                tracing::error!("{text}");
            } else {
                eprintln!("volery-server: {text}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Puts a new start of this program in the place of the process: as after a crash, which is the
/// start that is tested, and with the same number for whoever watches the process.
fn start_anew() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| name.into());
    // Comes back only if it failed.
    let error = std::process::Command::new(&program).args(arguments).exec();
    tracing::error!(program = %program.display(), %error, "cannot start anew");
    ExitCode::FAILURE
}

/// The error and its causes in one line; those whose words an error has taken over already are
/// left out.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
