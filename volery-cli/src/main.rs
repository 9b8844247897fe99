//! The `volery` command: parses the arguments, runs one command, turns its result into an exit
//! code. It holds no logic of any command.
//! Started by people and scripts.

mod args;
mod bench;
mod client;
mod command;
mod output;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use args::Cli;
use output::{Output, Usage};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let output = Output::new(cli.global.json);
    let result = run(&cli, &output).and_then(|()| Ok(output.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What was printed before the failure still counts.
            let _ = output.flush();
            ExitCode::from(output.fail(&error))
        }
    }
}

/// Help goes to stdout; what is wrong goes to stderr, as JSON where that was asked for.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args().any(|argument| argument == "--json") {
        let text = error.to_string();
        let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
        let message = lines.collect::<Vec<_>>().join(" ");
        let message = message.trim_start_matches("error: ").to_owned();
        let output = Output::new(true);
        return ExitCode::from(output.fail(&Usage(message).into()));
    }
    error.exit()
}

fn run(cli: &Cli, output: &Output) -> anyhow::Result<()> {
    let options = cli.client_options();
    if let args::Command::Bench(arguments) = &cli.command {
        return bench::run(arguments, &options, output);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(command::run(&cli.command, options, output))
}
