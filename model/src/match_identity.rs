//! When two HTTP matches are the same: order of headers and of query parameters does not matter.

use crate::route::{HttpMatch, NamedMatch, PathMatch};

/// A match, comparable and hashable, without regard to order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatchIdentity<'a> {
    path: &'a PathMatch,
    method: Option<&'a str>,
    headers: Vec<&'a NamedMatch>,
    query: Vec<&'a NamedMatch>,
}

impl HttpMatch {
    /// Returns what makes it the same as another match.
    #[must_use]
    pub fn identity(&self) -> MatchIdentity<'_> {
        MatchIdentity {
            path: &self.path,
            method: self.method.as_deref(),
            headers: sorted(&self.headers),
            query: sorted(&self.query),
        }
    }
}

fn sorted(conditions: &[NamedMatch]) -> Vec<&NamedMatch> {
    let mut sorted: Vec<&NamedMatch> = conditions.iter().collect();
    sorted.sort_unstable();
    sorted
}
