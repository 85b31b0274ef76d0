//! The command line: what can be typed, and which file does it.
//!
//! Client commands talk to the API with the context file's token; `up`, `join` and `dataplane` are
//! the long-running processes; `doctor` looks at this host alone. An error is printed once, with its causes, and the exit status says
//! what kind it was ([`exit::Exit`]).

mod apply;
pub mod arguments;
mod browse;
mod certificates;
mod cluster;
mod contexts;
mod doctor;
mod endpoints;
mod every;
pub mod exit;
mod explain;
mod flows;
mod input;
mod modules;
mod plane;
mod print;
mod process;
mod qos;
mod restart;
mod rollout;
mod session;
mod stream;
pub mod table;
pub mod view;
mod welcome;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::{Cli, Command, DataplaneArgs, DataplaneCommand};
use exit::{Exit, Failure};

/// Parses the command line, does what it says and returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // Nobody is left to be told when this cannot be printed.
            let _ = error.print();
            return exit.into();
        }
    };
    let done = match cli.command {
        Command::Dataplane(DataplaneArgs {
            command: Some(DataplaneCommand::Keep { keep }),
            ..
        }) => process::keep(keep),
        _ => run(cli).map(|()| Exit::Done.into()),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            print::error(&failure);
            failure.exit().into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { connection, command } = cli;
    match command {
        Command::Up(arguments) => process::up(arguments, &connection),
        Command::Join(arguments) => process::join(arguments, &connection),
        Command::Dataplane(arguments) => match arguments.command {
            Some(DataplaneCommand::RestartEnvoy { arguments, drain }) => session::block_on(async {
                restart::envoy(&session::client(&connection)?, arguments, drain).await
            }),
            Some(DataplaneCommand::Restart(arguments)) => session::block_on(async {
                restart::dataplane(&session::client(&connection)?, arguments).await
            }),
            _ => process::dataplane(arguments),
        },
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "marchproxy", &mut script);
            print::out(&String::from_utf8_lossy(&script))
        }
        Command::Version => print::out(concat!("marchproxy ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Context { command } => contexts::run(command, &connection),
        command => session::block_on(client_command(command, connection)),
    }
}

async fn client_command(
    command: Command,
    connection: arguments::Connection,
) -> Result<(), Failure> {
    let client = session::client(&connection)?;
    match command {
        Command::Apply(arguments) => apply::apply(&client, arguments).await,
        Command::Delete(arguments) => apply::delete(&client, arguments).await,
        Command::Rollback(arguments) => apply::rollback(&client, arguments).await,
        Command::Rollout { command, output } => rollout::rollout(&client, command, output).await,
        Command::Certificates { command, output } => {
            certificates::certificates(&client, command, output).await
        }
        Command::Modules { command, output } => modules::modules(&client, command, output).await,
        Command::Get(arguments) => browse::get(&client, arguments).await,
        Command::Diff(arguments) => browse::diff(&client, arguments).await,
        Command::History(arguments) => browse::history(&client, arguments).await,
        Command::Status(arguments) => cluster::status(&client, arguments).await,
        Command::Nodes { command, output } => cluster::nodes(&client, command, output).await,
        Command::Token { command } => cluster::token(&client, command).await,
        Command::Endpoints(arguments) => endpoints::endpoints(&client, arguments).await,
        Command::Qos(arguments) => qos::qos(&client, arguments).await,
        Command::Explain(arguments) => explain::explain(&client, arguments).await,
        Command::Flows(arguments) => flows::flows(&client, arguments).await,
        Command::Events(arguments) => stream::events(&client, arguments).await,
        Command::Up(_)
        | Command::Join(_)
        | Command::Dataplane(_)
        | Command::Doctor(_)
        | Command::Completions { .. }
        | Command::Version
        | Command::Context { .. } => unreachable!("these commands need no client"),
    }
}
