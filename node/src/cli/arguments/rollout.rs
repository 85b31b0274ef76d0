//! What `rollout` does.

use clap::Subcommand;

use super::Output;

/// What to do with the newest rollout.
#[derive(Clone, Debug, Subcommand)]
pub enum RolloutCommand {
    /// Show how it stands (the default)
    Status {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Stop it at its step; what its gates refuse is still taken back
    Pause {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Let it go on; the time of its step begins anew
    Resume {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Take it back: what was before is the configuration of all nodes again, as a new revision
    Abort {
        /// Why, for the history
        #[arg(
            short = 'm',
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        message: String,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}
