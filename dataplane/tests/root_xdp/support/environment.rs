//! What a run of the tests may be given by the environment: more than the suite has time for.

/// Returns the number that a variable holds.
pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
