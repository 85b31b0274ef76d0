//! Arguments of the commands that ask the API.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use model::{Kind, api::TokenRole, flow::Verdict};

use super::{Output, parse_time};

/// Documents from files.
#[derive(Args, Clone, Debug)]
pub struct Files {
    /// A file, a directory (its *.yaml, *.yml and *.json in order), or - for the standard input;
    /// may be given more than once
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    pub files: Vec<PathBuf>,
}

/// How to wait for the engines.
#[derive(Args, Clone, Copy, Debug)]
pub struct Waiting {
    /// Wait until every engine of every node answered; fail with exit status 3 when one refuses
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time, requires = "wait")]
    pub timeout: Duration,
}

/// What is kept in the history, and on what condition a write is done.
#[derive(Args, Clone, Debug)]
pub struct Writing {
    /// Why, for the history
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub message: String,
    /// Write only if the configuration is still at this revision; exit status 4 otherwise
    #[arg(long, value_name = "REVISION")]
    pub expect_revision: Option<u64>,
    /// Write also a packet filter that would cut off the cluster's own ports or the caller
    #[arg(long)]
    pub force: bool,
    /// Write to all nodes at once, whatever the rollout policy says
    #[arg(long)]
    pub all_at_once: bool,
}

/// Arguments of `apply`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy apply -f shop.yaml --wait -m 'two more endpoints'
  marchproxy apply -f base/ -f production/ --dry-run
  generate | marchproxy apply -f -

All documents together are one revision: all of them are written, or none.")]
pub struct ApplyArgs {
    /// What to apply.
    #[command(flatten)]
    pub files: Files,
    /// Check everything and show what would happen, and write nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Message and condition.
    #[command(flatten)]
    pub writing: Writing,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `get`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy get services
  marchproxy get httproute shop -o yaml
  marchproxy get listeners -A")]
pub struct GetArgs {
    /// Listener, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute, Service, PacketFilter, PrefixList,
    /// QoSPolicy, AuthPolicy, RateLimit, FilterModule, RolloutPolicy, Certificate or Issuer; letter case and
    /// the plural do not matter
    pub kind: Kind,
    /// One object of that kind
    pub name: Option<String>,
    /// The namespace
    #[arg(short = 'n', long, default_value = model::key::DEFAULT_NAMESPACE, conflicts_with = "all_namespaces")]
    pub namespace: String,
    /// Objects of every namespace
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
    /// Ask the node only, without making sure that it has the newest revision
    #[arg(long)]
    pub stale: bool,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `delete`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  marchproxy delete service cart --wait")]
pub struct DeleteArgs {
    /// The kind, as for `get`
    pub kind: Kind,
    /// The object
    pub name: String,
    /// The namespace
    #[arg(short = 'n', long, default_value = model::key::DEFAULT_NAMESPACE)]
    pub namespace: String,
    /// Check everything and show what would happen, and write nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Message and condition.
    #[command(flatten)]
    pub writing: Writing,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `diff`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  marchproxy diff -f shop.yaml")]
pub struct DiffArgs {
    /// What to compare.
    #[command(flatten)]
    pub files: Files,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `history`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy history --limit 5
  marchproxy history 42          what revision 42 changed, field by field")]
pub struct HistoryArgs {
    /// Show what this revision changed
    pub revision: Option<u64>,
    /// How many revisions to show, newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `rollback`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy rollback 42 --wait -m 'the new route breaks the cart'

The result is a new revision with the content of the old one; nothing is lost from the history.")]
pub struct RollbackArgs {
    /// The revision whose configuration is wanted again
    pub revision: u64,
    /// Show what would happen, and write nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Message and condition.
    #[command(flatten)]
    pub writing: Writing,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `status`.
#[derive(Args, Clone, Copy, Debug)]
pub struct StatusArgs {
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// What to do with nodes.
#[derive(Clone, Debug, Subcommand)]
pub enum NodesCommand {
    /// Show all nodes (the default)
    List {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Take a node out for good; its number is never used again
    Remove {
        /// The node's number
        id: u64,
    },
}

/// The role of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenRoleArg {
    /// Everything
    Admin,
    /// Read only
    Read,
}

impl From<TokenRoleArg> for TokenRole {
    fn from(role: TokenRoleArg) -> Self {
        match role {
            TokenRoleArg::Admin => Self::Admin,
            TokenRoleArg::Read => Self::Read,
        }
    }
}

/// What to do with tokens.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print its secret, once
    Create {
        /// Its name, which the history shows
        name: String,
        /// What its holder may do
        #[arg(long, value_enum)]
        role: TokenRoleArg,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Show all tokens, without their secrets
    List {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Make a token useless
    Delete {
        /// Its name
        name: String,
    },
    /// Make a join line for one more node
    Join {
        /// How long it may be used
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_time)]
        ttl: Duration,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
}

/// Arguments of `events`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy events --follow
  marchproxy events --after 40 --count 3 -o json    one JSON object a line")]
pub struct EventsArgs {
    /// Connect again when the stream ends, and go on after the last revision
    #[arg(long)]
    pub follow: bool,
    /// Begin with the revisions after this one
    #[arg(long, value_name = "REVISION")]
    pub after: Option<u64>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerdictArg {
    /// It was sent on
    Forwarded,
    /// It was answered, by a SYN cookie
    Answered,
    /// The kernel has it
    Passed,
    /// It was dropped
    Dropped,
}

impl From<VerdictArg> for Verdict {
    fn from(verdict: VerdictArg) -> Self {
        match verdict {
            VerdictArg::Forwarded => Self::Forwarded,
            VerdictArg::Answered => Self::Answered,
            VerdictArg::Passed => Self::Passed,
            VerdictArg::Dropped => Self::Dropped,
        }
    }
}

/// Arguments of `flows`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy flows                                   the newest that are kept, of all nodes
  marchproxy flows --follow --service web
  marchproxy flows --follow --verdict dropped --node 2 -o json    one JSON object a line

A packet is told of when it is dropped, when a connection begins or ends with it, and one in as many
as `up --flow-sampling N` says.")]
pub struct FlowsArgs {
    /// Go on with those that come
    #[arg(long)]
    pub follow: bool,
    /// Only those of this service
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub service: Option<String>,
    /// Only those of this listener
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub listener: Option<String>,
    /// Only those with this verdict
    #[arg(long, value_enum)]
    pub verdict: Option<VerdictArg>,
    /// Only those from or to this address
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Only those that this node sees; may be given more than once [default: all nodes]
    #[arg(long, value_name = "ID")]
    pub node: Vec<u64>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `endpoints`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy endpoints                               of all nodes
  marchproxy endpoints --service shop/cart
  marchproxy endpoints --listener dns --node 2 -o json

Counted is what XDP forwards; what Envoy does is in its own metrics. Answers of endpoints that answer
clients directly (forwarding L2, IPIP, GUE) pass no node, so nothing counts them.")]
pub struct EndpointsArgs {
    /// Only those of this service
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub service: Option<String>,
    /// Only those of this listener
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub listener: Option<String>,
    /// Only those of this node; may be given more than once [default: all nodes]
    #[arg(long, value_name = "ID")]
    pub node: Vec<u64>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// What to do with the context.
#[derive(Clone, Debug, Subcommand)]
pub enum ContextCommand {
    /// Show the context, without its token
    Show {
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Ask the cluster for its nodes and keep their addresses as the context's servers
    Refresh,
    /// Make or change the context; servers are given with --server
    #[command(after_help = "\
Examples:
  marchproxy context set --server 10.0.0.1 --server 10.0.0.2 --ca-pin PIN --token-file token")]
    Set {
        /// The pin of the cluster's CA, as `context show` prints it
        // A pin is base64url: one in 64 begins with a hyphen.
        #[arg(long, value_name = "PIN", conflicts_with = "ca_file", allow_hyphen_values = true)]
        ca_pin: Option<runtime::identity::CaPin>,
        /// The cluster's CA certificate in PEM
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
        /// A file with the token, or - for the standard input
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
}
