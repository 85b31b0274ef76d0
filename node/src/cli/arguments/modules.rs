//! What `modules` does.

use std::path::PathBuf;

use clap::Subcommand;
use model::ModuleId;

use super::Output;

/// What to do about modules.
#[derive(Clone, Debug, Subcommand)]
pub enum ModulesCommand {
    /// Show all, and the objects that run each (the default)
    List {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Upload a WebAssembly filter and print its SHA-256, by which a FilterModule names it
    Push {
        /// The file
        file: PathBuf,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Remove a module that no object runs
    Delete {
        /// Its SHA-256
        sha256: ModuleId,
    },
}
