//! The join line: `mp1.` and base64url of JSON, one word that survives a shell and a chat window.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use runtime::identity::{CaPin, ClusterId};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "mp1.";

/// Characters of a line; twenty addresses take a fifth of it.
const LINE_CHARACTERS_MAX: usize = 4096;

/// Time that a line may be used when none is asked for: enough to walk to the other hosts.
pub(crate) const TTL_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// Least time to live: less than it takes to copy a line is a mistake.
pub(crate) const TTL_MIN: Duration = Duration::from_secs(60);
/// Greatest time to live: a secret that lies around longer is a standing door.
pub(crate) const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The line that `marchproxy join` takes; `Display` writes it with its secret, `Debug` without.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinLine {
    /// The cluster.
    pub cluster: ClusterId,
    /// The pin of its CA.
    pub pin: CaPin,
    /// APIs of members, tried in order.
    pub api: Vec<SocketAddr>,
    /// What the node becomes.
    pub role: JoinRole,
    /// The single-use secret.
    pub secret: String,
    /// When it expires, in milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
}

/// What a joining node becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinRole {
    /// A control node with a data plane beside it.
    Control,
}

/// Why a text is no join line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLine {
    /// It does not begin as a line does.
    #[error(
        "not a join line: it begins with `mp1.` and is one word; `marchproxy token join` on a member prints one"
    )]
    Form,
    /// It begins like a line of a newer version.
    #[error("the join line is of a newer version: run the version of the cluster's members")]
    Version,
    /// It is cut or changed.
    #[error("the join line is damaged, perhaps cut when it was copied: copy the whole line")]
    Damaged,
}

impl fmt::Display for JoinLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl fmt::Debug for JoinLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinLine")
            .field("cluster", &self.cluster)
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

impl FromStr for JoinLine {
    type Err = InvalidLine;

    fn from_str(text: &str) -> Result<Self, InvalidLine> {
        let text = text.trim();
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            let newer = text.strip_prefix("mp").and_then(|rest| rest.split_once('.'));
            let newer = newer.is_some_and(|(version, _)| version.parse::<u32>().is_ok());
            return Err(if newer { InvalidLine::Version } else { InvalidLine::Form });
        };
        if text.len() > LINE_CHARACTERS_MAX {
            return Err(InvalidLine::Damaged);
        }
        let json = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvalidLine::Damaged)?;
        let line: Self = serde_json::from_slice(&json).map_err(|_| InvalidLine::Damaged)?;
        if line.api.is_empty() { Err(InvalidLine::Damaged) } else { Ok(line) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use runtime::identity::Authority;

    use super::*;

    fn line() -> JoinLine {
        let cluster = ClusterId::random();
        JoinLine {
            pin: Authority::create(cluster.clone()).unwrap().pin(),
            cluster,
            api: vec!["10.0.0.1:7800".parse().unwrap(), "[fd00::1]:7800".parse().unwrap()],
            role: JoinRole::Control,
            secret: "mpj_secret".to_owned(),
            expires_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_line_survives_its_text_and_keeps_its_secret_out_of_debug() {
        let line = line();
        let text = line.to_string();
        assert_eq!(text.parse::<JoinLine>().unwrap(), line);
        assert_eq!(format!("  {text}\n").parse::<JoinLine>().unwrap(), line);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{text}");
        assert!(!format!("{line:?}").contains("secret"));
    }

    #[test]
    fn every_cut_line_is_refused() {
        let text = line().to_string();
        for length in 0..text.len() {
            assert!(text[..length].parse::<JoinLine>().is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let check = |text: &str, expected: InvalidLine| {
            assert_eq!(text.parse::<JoinLine>().unwrap_err(), expected, "{text}");
        };
        check("", InvalidLine::Form);
        check("10.0.0.1:7800", InvalidLine::Form);
        check("mp2.abc", InvalidLine::Version);
        check("mp1.", InvalidLine::Damaged);
        check("mp1.!", InvalidLine::Damaged);
        check(&format!("mp1.{}", "A".repeat(LINE_CHARACTERS_MAX)), InvalidLine::Damaged);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(mp[0-9]\\.)?.{0,200}") {
            let _ = text.parse::<JoinLine>();
        }
    }
}
