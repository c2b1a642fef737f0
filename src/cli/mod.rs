//! The program's subcommands, one file each. Only this room assembles the whole.

mod backup;
mod bundle;
mod doctor;
mod embedded;
mod log;
mod node;
mod restore;
mod serve;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::Settings;

/// A panel for game servers that sleep while nobody plays.
#[derive(Parser)]
#[command(name = "roost", version)]
struct Arguments {
    /// File of settings; the environment wins over it.
    #[arg(long, default_value = "roost.toml")]
    settings: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the panel: web pages, API, workers, and a node of its own.
    Serve,
    /// The agent of the panel's own node; the panel starts it.
    #[command(hide = true)]
    Agent,
    /// Runs the agent of this machine, which has joined a panel; `roost node join` joins one.
    Node(node::Arguments),
    /// Writes the panel's database and secrets into a file, while the panel runs or not.
    Backup(backup::Arguments),
    /// Puts such a file into an empty database, of either kind, and an empty data folder.
    Restore(restore::Arguments),
    /// Looks whether everything is as it should be, the books first; beside a panel that runs or not.
    Doctor,
}

/// Reads the command line and runs.
pub fn main() -> ExitCode {
    crate::trust::install();
    let arguments = Arguments::parse();
    let settings = match Settings::read(&arguments.settings, std::env::vars()) {
        Ok(settings) => settings,
        Err(error) => return complain(&error.into()),
    };
    log::open(&settings.log);
    let done = match arguments.command {
        Command::Serve => serve::run(settings, arguments.settings),
        Command::Agent => embedded::run(&settings),
        Command::Node(arguments) => node::run(settings, arguments),
        Command::Backup(arguments) => backup::run(&settings, &arguments),
        Command::Restore(arguments) => restore::run(&settings, &arguments),
        Command::Doctor => doctor::run(&settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

#[allow(clippy::print_stderr)]
fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("roost: {error:#}");
    ExitCode::FAILURE
}
