//! Arguments of `qos`.

use clap::Args;

use super::Output;

/// Arguments of `qos`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy qos                                     of all nodes
  marchproxy qos --node 2 -o json | jq '.[].classes'

A rate is that of the last 5 to 10 s. How long packets of a class waited is about those that were sent
in the last 15 to 30 s: 99 of 100 waited 0.21 ms at most where it says \"P0: 0.21 ms of 1 ms\".")]
pub struct QosArgs {
    /// Only this node; may be given more than once [default: all nodes]
    #[arg(long, value_name = "ID")]
    pub node: Vec<u64>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}
