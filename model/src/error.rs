//! What is wrong with a configuration, all of it at once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::ObjectKey;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigError {
    /// The object it is in, when the document got far enough to name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectKey>,
    /// Which document of a multi-document input, counted from 0.
    pub document: usize,
    /// The field, such as `spec.rules[2].timeout`; empty for the whole document.
    pub path: String,
    /// The offending value, shortened; empty when a field is missing.
    pub value: String,
    /// What is wrong with it.
    pub message: String,
    /// What to write there.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{object}")?,
            None => write!(f, "document {}", self.document + 1)?,
        }
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        if !self.value.is_empty() {
            write!(f, " = {}", self.value)?;
        }
        write!(f, ": {}; {}", self.message, self.remedy)
    }
}

/// Everything that is wrong with an input; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(transparent)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}
