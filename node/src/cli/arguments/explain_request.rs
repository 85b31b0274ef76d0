//! Arguments of `explain request`.

use std::net::{IpAddr, SocketAddr};

use clap::Args;
use model::explain::request::RequestHeader;

use super::Output;

/// Arguments of `explain request`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  marchproxy explain request GET https://shop.example/cart -H 'x-beta: 1'
  marchproxy explain request POST http://10.200.1.1/cart -H 'host: shop.example' --revision 40
  marchproxy explain request GET http://shop.example/ --listener shop/web --client 203.0.113.7

Nothing is sent. The configuration decides, with the health that the node's probes know.")]
pub struct RequestArgs {
    /// Its method
    pub method: String,
    /// `http://HOST:PORT/PATH?QUERY` or https; port, path and query may be left out
    pub url: String,
    /// A header; may be given more than once, and `host` stands in for the URL's host
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<RequestHeader>,
    /// Who sends it [default: 192.0.2.1]
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
    /// The listener that it comes to [default: the one at the URL's port]
    #[arg(long, value_name = "[NAMESPACE/]NAME", conflicts_with = "to")]
    pub listener: Option<String>,
    /// The address and port that it comes to [default: any address, the URL's port]
    #[arg(long, value_name = "IP:PORT")]
    pub to: Option<SocketAddr>,
    /// Ask the configuration of this kept revision in place of the present one
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<u64>,
    /// Ask this node [default: the one that answers first]
    #[arg(long, value_name = "ID")]
    pub node: Option<u64>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

fn header(text: &str) -> Result<RequestHeader, String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'name: value'")?;
    Ok(RequestHeader { name: name.trim().to_owned(), value: value.trim().to_owned() })
}
