//! Where the programs under test are, and the loopback addresses of a test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The programs that a cluster is made of.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `marchproxy`.
    pub marchproxy: PathBuf,
    /// Envoy.
    pub envoy: PathBuf,
}

impl Programs {
    /// Those named by `MARCHPROXY_BIN` and `MARCHPROXY_ENVOY`, as `cargo xtask test` sets them; by
    /// default the dev build, and the Envoy that setup fetched.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn find() -> Result<Self> {
        let workspace =
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let marchproxy =
            named("MARCHPROXY_BIN").unwrap_or_else(|| workspace.join("target/debug/marchproxy"));
        let cache = named("XDG_CACHE_HOME")
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
            .unwrap_or_default();
        let envoy = named("MARCHPROXY_ENVOY")
            .unwrap_or_else(|| cache.join("marchproxy/envoy-1.39.3/envoy"));
        ensure!(
            marchproxy.is_file(),
            "{} is not there: run `cargo xtask test`, or `cargo build -p node`",
            marchproxy.display()
        );
        ensure!(envoy.is_file(), "{} is not there: run `cargo xtask setup`", envoy.display());
        Ok(Self { marchproxy, envoy })
    }
}

/// A /24 of the loopback network. That of a process is its own, so that clusters of several
/// processes do not meet.
#[derive(Debug, Clone, Copy)]
pub struct Loopback(u8, u8);

impl Loopback {
    /// 127.A.B.0/24.
    #[must_use]
    pub fn net(a: u8, b: u8) -> Self {
        Self(a, b)
    }

    /// The net of this process.
    #[must_use]
    pub fn own() -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Self((high % 127) + 128, low)
    }

    /// An address in it.
    #[must_use]
    pub fn address(self, host: u8) -> IpAddr {
        Ipv4Addr::new(127, self.0, self.1, host).into()
    }

    /// A socket address in it.
    #[must_use]
    pub fn at(self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.address(host), port)
    }
}
