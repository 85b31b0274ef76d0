//! What a stream has subscribed to, of one resource type.
//!
//! Three forms: a wildcard (`*`, or the legacy one: a first request that names nothing), a
//! collection (`xdstp://…/*`, everything below that path) and single names.

use std::{collections::BTreeSet, sync::Arc};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wildcard {
    #[default]
    No,
    /// Ends with the first explicit name.
    Legacy,
    Explicit,
}

/// The subscriptions of one type on one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscriptions {
    wildcard: Wildcard,
    /// Paths of collections, with the slash at their end.
    collections: BTreeSet<Arc<str>>,
    names: BTreeSet<Arc<str>>,
    asked: bool,
}

/// What a request adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscribed {
    /// Prefixes of names: of collections, and the empty one of a wildcard.
    pub(super) prefixes: Vec<Arc<str>>,
    /// Single names, also those that were subscribed before.
    pub(super) names: Vec<Arc<str>>,
}

impl Subscriptions {
    /// Takes the changes of a request.
    pub(super) fn change(&mut self, subscribe: &[String], unsubscribe: &[String]) -> Subscribed {
        let mut subscribed = Subscribed::default();
        if !self.asked && subscribe.is_empty() {
            self.wildcard = Wildcard::Legacy;
            subscribed.prefixes.push("".into());
        }
        self.asked = true;
        for name in subscribe {
            if name == "*" {
                self.wildcard = Wildcard::Explicit;
                subscribed.prefixes.push("".into());
                continue;
            }
            if self.wildcard == Wildcard::Legacy {
                self.wildcard = Wildcard::No;
            }
            if let Some(path) = collection(name) {
                self.collections.insert(path.into());
                subscribed.prefixes.push(path.into());
            } else {
                self.names.insert(name.as_str().into());
                subscribed.names.push(name.as_str().into());
            }
        }
        for name in unsubscribe {
            if name == "*" {
                self.wildcard = Wildcard::No;
            } else if let Some(path) = collection(name) {
                self.collections.remove(path);
            } else {
                self.names.remove(name.as_str());
            }
        }
        subscribed
    }

    /// Tells whether a resource is subscribed to.
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard != Wildcard::No
            || self.names.contains(name)
            || name.rfind('/').is_some_and(|slash| self.collections.contains(&name[..=slash]))
    }

    /// Tells whether there was any request of this type.
    pub(super) fn asked(&self) -> bool {
        self.asked
    }
}

/// Returns the path of a collection with its slash.
fn collection(name: &str) -> Option<&str> {
    (name.starts_with("xdstp://") && name.ends_with("/*")).then(|| &name[..name.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_first_request_without_names_is_a_wildcard_until_a_name_comes() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.change(&[], &[]).prefixes, ["".into()]);
        assert!(subscriptions.covers("a"));
        assert!(subscriptions.change(&[], &[]).prefixes.is_empty(), "an ACK is no subscription");
        subscriptions.change(&strings(&["b"]), &[]);
        assert!(!subscriptions.covers("a") && subscriptions.covers("b"));
    }

    #[test]
    fn an_explicit_wildcard_stays_beside_names() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.change(&strings(&["*", "b"]), &[]);
        assert!(subscriptions.covers("a"));
        subscriptions.change(&[], &strings(&["*"]));
        assert!(!subscriptions.covers("a") && subscriptions.covers("b"));
    }

    #[test]
    fn a_collection_covers_one_level() {
        let mut subscriptions = Subscriptions::default();
        let added = subscriptions.change(&strings(&["xdstp://a/T/x/*"]), &[]);
        assert_eq!(added.prefixes, ["xdstp://a/T/x/".into()]);
        assert!(subscriptions.covers("xdstp://a/T/x/1"));
        assert!(!subscriptions.covers("xdstp://a/T/x/y/1"));
        assert!(!subscriptions.covers("xdstp://a/T/y/1"));
        subscriptions.change(&[], &strings(&["xdstp://a/T/x/*"]));
        assert!(!subscriptions.covers("xdstp://a/T/x/1"));
    }
}
