//! `FilterModule`: code of the user's own (WebAssembly) that requests and answers pass.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use serde_json::Value;

use crate::rate_limit::TargetRef;

/// A module of the store, and where and how it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterModule {
    /// What it is for; at least one, none twice.
    pub target_refs: Vec<TargetRef>,
    /// Which module of the store it is.
    pub sha256: ModuleId,
    /// Which of the filters in the module; the only one when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root_id: String,
    /// What the module is configured with: text as it is, anything else as JSON.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub configuration: Value,
    /// How much memory each of its instances may have, in MiB: 1 to 512, 32 by default.
    pub memory_limit_mib: u32,
    /// Where it stands among the modules of a request: lower ones see it first, equal ones by namespace
    /// and name.
    pub order: u32,
    /// What happens to requests when it fails.
    pub on_failure: OnModuleFailure,
    /// That requests may pass unchecked; true exactly when [`Self::on_failure`] lets them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_unchecked: bool,
}

/// What happens to requests when a module fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum OnModuleFailure {
    /// They are answered by an error.
    #[default]
    Closed,
    /// They go on as if it were not there.
    Open,
}

impl FilterModule {
    /// Returns the text that the module is configured with.
    #[must_use]
    pub fn configuration_text(&self) -> String {
        match &self.configuration {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Returns which file of a node it runs.
    #[must_use]
    pub fn file(&self) -> ModuleFile {
        ModuleFile { sha256: self.sha256, memory_limit_mib: self.memory_limit_mib }
    }
}

/// A module whose memory is limited, as a file of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleFile {
    /// Which module.
    pub sha256: ModuleId,
    /// How much memory an instance may have.
    pub memory_limit_mib: u32,
}

/// The SHA-256 of a module, by which it is known everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub [u8; 32]);

/// Tells that a text is no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 has 64 hexadecimal digits, in lower case")]
pub struct InvalidModuleId;

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ModuleId {
    type Err = InvalidModuleId;

    fn from_str(text: &str) -> Result<Self, InvalidModuleId> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(InvalidModuleId),
        };
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 64 {
            return Err(InvalidModuleId);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for ModuleId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ModuleId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_64_digits_in_lower_case() {
        let text = "0123456789abcdef".repeat(4);
        let id: ModuleId = text.parse().expect("64 digits");
        assert_eq!((id.to_string(), id.0[..2].to_vec()), (text.clone(), vec![0x01, 0x23]));
        for bad in ["", &text[..62], &text.to_uppercase(), &text.replace('f', "g"), &"é".repeat(32)]
        {
            assert_eq!(bad.parse::<ModuleId>(), Err(InvalidModuleId), "{bad}");
        }
    }
}
