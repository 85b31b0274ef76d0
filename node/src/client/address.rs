//! The address of an API server as people write it: `https://HOST:PORT`, `HOST:PORT` or `HOST`.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

/// The API's port where none is given.
pub const DEFAULT_PORT: u16 = 7800;

/// A server address that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a server address ({reason}); write https://HOST:PORT")]
pub struct InvalidServer {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Where an API server is reached. Displayed as `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerAddress {
    /// An IP address (IPv6 without brackets) or a host name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl ServerAddress {
    /// Host and port as the `Host` header has them.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl From<std::net::SocketAddr> for ServerAddress {
    fn from(address: std::net::SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for ServerAddress {
    type Err = InvalidServer;

    fn from_str(text: &str) -> Result<Self, InvalidServer> {
        let wrong = |reason| InvalidServer { text: text.to_owned(), reason };
        if text.starts_with("http://") {
            return Err(wrong("the API speaks TLS only"));
        }
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
            let (host, port) = bracketed.split_once(']').ok_or_else(|| wrong("no closing ]"))?;
            host.parse::<Ipv6Addr>().map_err(|_| wrong("no IPv6 address in the brackets"))?;
            match port {
                "" => (host, None),
                port => {
                    (host, Some(port.strip_prefix(':').ok_or_else(|| wrong("no port after ]"))?))
                }
            }
        } else if rest.parse::<Ipv6Addr>().is_ok() {
            (rest, None)
        } else {
            match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            }
        };
        let port = match port {
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(wrong("the port is not a number from 1 to 65535")),
            },
            None => DEFAULT_PORT,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(wrong("the host is neither an IP address nor a host name"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl TryFrom<String> for ServerAddress {
    type Error = InvalidServer;

    fn try_from(text: String) -> Result<Self, InvalidServer> {
        text.parse()
    }
}

impl From<ServerAddress> for String {
    fn from(address: ServerAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<ServerAddress>().ok().map(|address| address.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("https://10.0.0.1:7800", Some("https://10.0.0.1:7800"));
        check("https://10.0.0.1:7800/", Some("https://10.0.0.1:7800"));
        check("10.0.0.1", Some("https://10.0.0.1:7800"));
        check("node-1.example:9000", Some("https://node-1.example:9000"));
        check("[2001:db8::1]:9000", Some("https://[2001:db8::1]:9000"));
        check("2001:db8::1", Some("https://[2001:db8::1]:7800"));
        check("http://10.0.0.1", None);
        check("10.0.0.1:0", None);
        check("10.0.0.1:70000", None);
        check("[10.0.0.1]:80", None);
        check("a b:80", None);
        check("host/path", None);
        check("", None);
    }
}
