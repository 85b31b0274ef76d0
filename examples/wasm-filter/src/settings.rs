//! What the filter is configured with.

use serde_json::Value;

/// What the filter does.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// The header that it sets.
    pub(crate) header: String,
    /// To which value.
    pub(crate) value: String,
    /// Starts of paths that it refuses.
    refuse: Vec<String>,
}

impl Settings {
    /// Reads JSON; says what is wrong with it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let json: Value =
            serde_json::from_slice(bytes).map_err(|error| format!("no JSON: {error}"))?;
        let text = |name: &str| match json[name].as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(format!("{name} is missing, or no text")),
        };
        let refuse = match &json["refuse"] {
            Value::Null => Vec::new(),
            Value::Array(paths) => paths
                .iter()
                .map(|path| path.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or("refuse holds something else than paths")?,
            _ => return Err("refuse is no list of paths".to_owned()),
        };
        Ok(Self { header: text("header")?.to_lowercase(), value: text("value")?, refuse })
    }

    /// Tells whether a path is refused: one of those that are listed, or below it.
    pub(crate) fn refuses(&self, target: &str) -> bool {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        self.refuse.iter().any(|refused| {
            path.strip_prefix(refused.trim_end_matches('/'))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}
