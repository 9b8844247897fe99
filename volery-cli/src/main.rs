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
use output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
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
