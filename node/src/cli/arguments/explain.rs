//! Arguments of `explain`.

use std::net::SocketAddr;

use clap::{Args, Subcommand, ValueEnum};
use model::packet_filter::Transport;

use super::{Output, explain_request::RequestArgs};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProtocolArg {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl From<ProtocolArg> for Transport {
    fn from(protocol: ProtocolArg) -> Self {
        match protocol {
            ProtocolArg::Tcp => Self::Tcp,
            ProtocolArg::Udp => Self::Udp,
        }
    }
}

/// What else is explained.
#[derive(Clone, Debug, Subcommand)]
pub enum ExplainCommand {
    /// Say what would become of an HTTP request, and which objects and fields decide it
    Request(RequestArgs),
}

/// Arguments of `explain`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  marchproxy explain --from 203.0.113.7:4242 --to 10.200.1.1:80
  marchproxy explain --from 203.0.113.7:4242 --to 10.200.1.1:80 --flags ack --node 2
  marchproxy explain --from 203.0.113.7:53 --to 10.200.1.1:53 --protocol udp --revision 40
  marchproxy explain --frame \"$(xxd -p frame.bin)\" --interface eth1 -o json
  marchproxy explain request GET https://shop.example/cart -H 'x-beta: 1'

The node's own XDP program is run on the packet, apart from the traffic, which it does not touch. Now
the packet meets the connections that there are; at a kept revision there are none.")]
pub struct ExplainArgs {
    /// A request in place of a packet.
    #[command(subcommand)]
    pub command: Option<ExplainCommand>,
    /// Where the packet comes from
    #[arg(long, value_name = "IP:PORT", requires = "to", required_unless_present = "frame")]
    pub from: Option<SocketAddr>,
    /// Where it is for
    #[arg(long, value_name = "IP:PORT", requires = "from")]
    pub to: Option<SocketAddr>,
    /// Its protocol [default: tcp]
    #[arg(long, value_enum)]
    pub protocol: Option<ProtocolArg>,
    /// Its TCP flags, such as syn or fin,ack [default: syn]
    #[arg(long, value_name = "FLAG,…", value_delimiter = ',')]
    pub flags: Vec<String>,
    /// Its TTL or hop limit [default: 64]
    #[arg(long, value_name = "N")]
    pub hop_limit: Option<u8>,
    /// Bytes of its payload [default: 0]
    #[arg(long, value_name = "BYTES")]
    pub payload: Option<u16>,
    /// A whole frame in hexadecimal, from its Ethernet header on
    #[arg(long, value_name = "HEX",
          conflicts_with_all = ["from", "to", "protocol", "flags", "hop_limit", "payload"])]
    pub frame: Option<String>,
    /// The interface that it comes in by [default: the node's first --xdp]
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Ask the configuration of this kept revision in place of what runs
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<u64>,
    /// Ask this node [default: the one that answers first]
    #[arg(long, value_name = "ID")]
    pub node: Option<u64>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}
