//! What would become of a packet, and which objects decide it: the question and its answer.

mod frame;
pub mod request;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    cluster::NodeId,
    flow::{TCP_FLAGS, Verdict},
    key::ObjectKey,
    packet_filter::Transport,
    revision::Revision,
};

/// Bytes of the least frame that is taken: an Ethernet header.
pub const FRAME_BYTES_MIN: usize = 14;
/// Bytes of the greatest frame: what native XDP takes in one page (`XDP_PACKET_HEADROOM` and the
/// skb's tail taken off).
pub const FRAME_BYTES_MAX: usize = 3_498;
/// The greatest payload of a made packet.
pub const PAYLOAD_MAX: u16 = 3_000;

/// The question: a whole frame, or what one is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainRequest {
    /// A frame from its Ethernet header on, in hexadecimal; the fields of a made one are absent then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// Where the packet comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SocketAddr>,
    /// Where it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<SocketAddr>,
    /// TCP when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Transport>,
    /// Names of the TCP flags that are set; a SYN when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<Vec<String>>,
    /// TTL or hop limit; 64 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop_limit: Option<u8>,
    /// Bytes behind the TCP or UDP header; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u16>,
    /// The interface that it comes in by; the first one of XDP's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The kept revision to ask; what runs when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
}

/// Tells why there is no frame for a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidPacket {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it, and what to write.
    pub reason: String,
}

impl ExplainRequest {
    /// Returns the frame that is meant.
    ///
    /// # Errors
    /// Returns the first field that does not do.
    pub fn to_frame(&self) -> Result<Vec<u8>, InvalidPacket> {
        let wrong = |field, reason: &str| InvalidPacket { field, reason: reason.to_owned() };
        if let Some(text) = &self.frame {
            if self.from.is_some() || self.to.is_some() {
                return Err(wrong("frame", "give either a frame, or `from` and `to`"));
            }
            return whole(text);
        }
        let (Some(from), Some(to)) = (self.from, self.to) else {
            return Err(wrong("from", "give `from` and `to` as ADDRESS:PORT, or a `frame`"));
        };
        if from.is_ipv4() != to.is_ipv4() {
            return Err(wrong("to", "`from` and `to` must be of the same IP version"));
        }
        let protocol = self.protocol.unwrap_or(Transport::Tcp);
        let flags = match (&self.tcp_flags, protocol) {
            (None, _) => frame::SYN,
            (Some(names), Transport::Tcp) => flags(names)?,
            (Some(_), Transport::Udp) => {
                return Err(wrong("tcpFlags", "UDP has no flags: leave it out"));
            }
        };
        let payload = self.payload_bytes.unwrap_or(0);
        if payload > PAYLOAD_MAX {
            let reason = format!("{payload} is more than {PAYLOAD_MAX}");
            return Err(InvalidPacket { field: "payloadBytes", reason });
        }
        let hop_limit = self.hop_limit.unwrap_or(64);
        Ok(frame::make(from, to, protocol, flags, hop_limit, payload))
    }
}

/// Reads a whole frame.
fn whole(text: &str) -> Result<Vec<u8>, InvalidPacket> {
    let wrong = |reason: String| InvalidPacket { field: "frame", reason };
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()
        .ok_or_else(|| wrong("it is not hexadecimal".to_owned()))?;
    if !digits.len().is_multiple_of(2) {
        return Err(wrong("it ends in the middle of a byte".to_owned()));
    }
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
    if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes.len()) {
        return Err(wrong(format!(
            "it has {} bytes; {FRAME_BYTES_MIN} to {FRAME_BYTES_MAX} are taken",
            bytes.len()
        )));
    }
    Ok(bytes)
}

fn flags(names: &[String]) -> Result<u8, InvalidPacket> {
    names.iter().try_fold(0, |byte, name| {
        match TCP_FLAGS.iter().position(|known| known.eq_ignore_ascii_case(name)) {
            Some(bit) => Ok(byte | 1 << bit),
            None => {
                let reason = format!("{name:?} is not one of {}", TCP_FLAGS.join(", "));
                Err(InvalidPacket { field: "tcpFlags", reason })
            }
        }
    })
}

/// One decision on the way of the packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Where on the way: of a packet `parse`, `filter`, `listener`, `policy`, `connection`,
    /// `endpoint`, `forwarding`, `next hop` or `verdict`; of a request see [`request`].
    pub step: String,
    /// What was decided.
    pub said: String,
    /// The object that made it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectKey>,
    /// The field of the object, where one alone did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The revision that last changed that object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_revision: Option<Revision>,
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step, self.said)?;
        match (&self.object, &self.field) {
            (Some(object), Some(field)) => write!(f, " ({object} {field})"),
            (Some(object), None) => write!(f, " ({object})"),
            (None, _) => Ok(()),
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The node whose program was run.
    pub node: NodeId,
    /// The revision that it was run with.
    pub revision: Revision,
    /// Whether that is what runs, with the connections that there are.
    pub live: bool,
    /// What would become of the packet.
    pub verdict: Verdict,
    /// Why it would not be sent on, as metrics name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The endpoint that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    /// The decisions, in order.
    pub decisions: Vec<Decision>,
    /// The frame that came in, in hexadecimal.
    pub frame: String,
    /// The frame that would leave, where one would.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
}

/// Writes bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(json: &str) -> ExplainRequest {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_frame_is_taken_as_it_is_written() {
        let frame = |text: &str| request(&format!(r#"{{"frame": "{text}"}}"#)).to_frame();
        let bytes = frame("02:00:00:00:00:01 02000000 00cc 0806").unwrap();
        assert_eq!(hex(&bytes), "02000000000102000000".to_owned() + "00cc0806");
        assert!(frame("02").unwrap_err().to_string().contains("it has 1 bytes"));
        assert!(frame("020").unwrap_err().to_string().contains("middle of a byte"));
        assert!(frame("xy").unwrap_err().to_string().contains("not hexadecimal"));
    }

    #[test]
    fn what_no_packet_is_made_of_is_refused_by_field() {
        let field = |json: &str| request(json).to_frame().unwrap_err().field;
        assert_eq!(field("{}"), "from");
        assert_eq!(field(r#"{"from": "10.0.0.1:1"}"#), "from");
        assert_eq!(field(r#"{"from": "10.0.0.1:1", "to": "[::1]:1"}"#), "to");
        let ends = r#""from": "10.0.0.1:1", "to": "10.0.0.2:80""#;
        assert_eq!(field(&format!(r#"{{{ends}, "tcpFlags": ["SIN"]}}"#)), "tcpFlags");
        assert_eq!(field(&format!(r#"{{{ends}, "protocol": "UDP", "tcpFlags": []}}"#)), "tcpFlags");
        assert_eq!(field(&format!(r#"{{{ends}, "payloadBytes": 3001}}"#)), "payloadBytes");
        assert_eq!(field(&format!(r#"{{{ends}, "frame": "00"}}"#)), "frame");
        assert!(serde_json::from_str::<ExplainRequest>(r#"{"form": "10.0.0.1:1"}"#).is_err());
    }
}
