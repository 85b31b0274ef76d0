//! What can be typed: subcommands, arguments and the texts of `--help`.

mod certificates;
mod client;
mod explain;
mod explain_request;
mod modules;
mod node;
mod qos;
mod rollout;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use certificates::CertificatesCommand;
pub use client::{
    ApplyArgs, ContextCommand, DeleteArgs, DiffArgs, EndpointsArgs, EventsArgs, FlowsArgs, GetArgs,
    HistoryArgs, NodesCommand, RollbackArgs, StatusArgs, TokenCommand, TokenRoleArg, Waiting,
    Writing,
};
pub use explain::{ExplainArgs, ExplainCommand, ProtocolArg};
pub use explain_request::RequestArgs;
pub use modules::ModulesCommand;
pub use node::{
    DataplaneArgs, DataplaneCommand, DetachArgs, DoctorArgs, JoinArgs, LogArgs, LogFormat,
    RestartArgs, UpArgs,
};
pub use qos::QosArgs;
pub use rollout::RolloutCommand;

use crate::client::ServerAddress;

/// One proxy platform for HTTP, TCP and UDP traffic across several clouds.
#[derive(Debug, Parser)]
#[command(
    name = "marchproxy",
    version,
    max_term_width = 100,
    after_help = "\
A first cluster:
  host-1$ marchproxy up                      prints a join line
  host-2$ marchproxy join mp1.…              a second node
  host-1$ marchproxy apply -f shop.yaml --wait
  host-1$ marchproxy status

Exit status: 0 done, 1 failed, 2 wrong command line, 3 written but refused by an engine,
4 conflict with another change, 5 not known whether the change was made."
)]
pub struct Cli {
    /// Whom to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Whom client commands ask.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// The context file with servers, CA pin and token [default: ~/.config/marchproxy/context.json]
    #[arg(long, global = true, value_name = "FILE", env = crate::client::context::CONTEXT_VARIABLE)]
    pub context_file: Option<PathBuf>,
    /// Ask this server in place of the context's; may be given more than once
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub server: Vec<ServerAddress>,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people
    #[default]
    Table,
    /// The API's answer
    Json,
    /// Objects as documents that can be applied; other answers as the API gives them
    Yaml,
}

/// The choice of a format.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Output {
    /// How to print the answer
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node: form a cluster, or take up the node that this host was before
    Up(UpArgs),
    /// Run a node that enters a cluster by a join line
    Join(JoinArgs),
    /// Run the data plane (`up` and `join` do), or take XDP off this host
    Dataplane(DataplaneArgs),
    /// Create and replace objects, all or none, as one revision
    Apply(ApplyArgs),
    /// Show objects
    Get(GetArgs),
    /// Remove an object
    Delete(DeleteArgs),
    /// Show what an apply would change
    Diff(DiffArgs),
    /// Show past revisions, or what one of them changed
    History(HistoryArgs),
    /// Make the configuration of a past revision the present one
    Rollback(RollbackArgs),
    /// Show, stop, resume or take back the newest rollout
    #[command(args_conflicts_with_subcommands = true)]
    Rollout {
        /// What to do with it.
        #[command(subcommand)]
        command: Option<RolloutCommand>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show certificates, or the authorities that clients are to trust
    #[command(args_conflicts_with_subcommands = true)]
    Certificates {
        /// What to do about them.
        #[command(subcommand)]
        command: Option<CertificatesCommand>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show, upload or remove modules that filters are made of
    #[command(args_conflicts_with_subcommands = true)]
    Modules {
        /// What to do about them.
        #[command(subcommand)]
        command: Option<ModulesCommand>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show the cluster, its engines, endpoints and actors
    Status(StatusArgs),
    /// Say what of this host helps and what hinders its data plane, and what to do
    Doctor(DoctorArgs),
    /// Show or remove nodes
    #[command(args_conflicts_with_subcommands = true)]
    Nodes {
        /// What to do with them.
        #[command(subcommand)]
        command: Option<NodesCommand>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Make, show and remove API tokens; make join lines
    Token {
        /// What to do.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Follow revisions, acknowledgements, health, membership and rollouts as they happen
    #[command(visible_alias = "watch")]
    Events(EventsArgs),
    /// Show the endpoints that XDP forwards to, with packets, bytes and connections of each
    Endpoints(EndpointsArgs),
    /// Show what QoS policies do: rates allowed and measured, what waits and how long, what is dropped
    Qos(QosArgs),
    /// Say what would become of a packet or a request on a node, and which objects decide it
    Explain(ExplainArgs),
    /// Show or follow what the data planes tell of single packets: who, to whom, verdict, rule, revision
    Flows(FlowsArgs),
    /// Show or set which cluster the client commands talk to
    Context {
        /// What to do.
        #[command(subcommand)]
        command: ContextCommand,
    },
    /// Print a completion script: `marchproxy completions bash > /etc/bash_completion.d/marchproxy`
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

/// Reads a time such as `30s`, `500ms`, `5m` or `1h`.
///
/// # Errors
/// The text is not a whole number with a unit.
pub fn parse_time(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a time such as 30s, 500ms, 5m or 1h");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit {
        "ms" => number,
        "s" => number.checked_mul(1_000).ok_or_else(wrong)?,
        "m" => number.checked_mul(60_000).ok_or_else(wrong)?,
        "h" => number.checked_mul(3_600_000).ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    Ok(std::time::Duration::from_millis(ms))
}

#[cfg(test)]
mod tests;
