//! `cargo xtask`: the commands of the project. Each installs what it needs (through `setup`) or
//! says exactly what is missing.

mod bench;
mod boundaries;
mod build;
mod check;
mod demo;
mod house;
mod junit;
mod lab_command;
mod progress;
mod setup;
mod test;
mod wasm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The commands of the MarchProxy project.
///
/// A fresh clone needs two of them: `cargo xtask demo` shows the product at work, `cargo xtask
/// test` proves it. Both install what is missing first (Debian packages need root; without root
/// the exact command is printed).
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs what building and testing need, and nothing that is already there
    Setup(setup::Arguments),
    /// Forms a three-node cluster with real Envoy and XDP, sends real traffic, breaks things
    Demo(demo::Arguments),
    /// Runs every test that CI runs, by kinds, and counts them
    Test(test::Arguments),
    /// Checks formatting, lints, docs and dependency boundaries; writes nothing
    Check,
    /// Formats, and applies what the lints can apply
    Fix,
    /// Measures; prints a table and writes target/bench/NAME.json
    #[command(subcommand)]
    Bench(bench::Command),
    /// Builds the sample filter of examples/wasm-filter and prints where it is
    Wasm,
    /// The network-namespace laboratory: hosts, links, cuts, servers, load
    #[command(subcommand)]
    Lab(lab_command::Command),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(arguments) => Ok(setup::run(&arguments)),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Check => check::run_command(),
        Command::Fix => check::fix(),
        Command::Bench(command) => bench::run(&command),
        Command::Wasm => wasm::filter().map(|path| {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }),
        Command::Lab(command) => lab_command::run(command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
