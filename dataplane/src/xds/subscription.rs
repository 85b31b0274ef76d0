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
    /// What is subscribed to no more, as a request names it.
    pub(super) ended: Vec<String>,
}

impl Subscribed {
    /// Lists what is subscribed to, as a request names it.
    pub(super) fn forms(&self) -> Vec<String> {
        let prefixes = self.prefixes.iter().map(|prefix| format!("{prefix}*"));
        prefixes.chain(self.names.iter().map(|name| name.to_string())).collect()
    }
}

impl Subscriptions {
    /// Takes the changes of a request; a first one that names nothing asks for all when `legacy`.
    pub(super) fn change(
        &mut self,
        legacy: bool,
        subscribe: &[String],
        unsubscribe: &[String],
    ) -> Subscribed {
        let mut subscribed = Subscribed::default();
        if !self.asked && legacy && subscribe.is_empty() {
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
                subscribed.ended.push("*".to_owned());
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
            subscribed.ended.push(name.clone());
        }
        subscribed
    }

    /// Lists all of it, as a request would name it.
    pub(super) fn forms(&self) -> Vec<String> {
        let all = (self.wildcard != Wildcard::No).then(|| "*".to_owned());
        let collections = self.collections.iter().map(|path| format!("{path}*"));
        let names = self.names.iter().map(|name| name.to_string());
        all.into_iter().chain(collections).chain(names).collect()
    }

    /// Tells whether a request has named this, and none has ended it.
    pub(super) fn names(&self, form: &str) -> bool {
        match collection(form) {
            _ if form == "*" => self.wildcard != Wildcard::No,
            Some(path) => self.collections.contains(path),
            None => self.names.contains(form),
        }
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
        assert_eq!(subscriptions.change(true, &[], &[]).prefixes, ["".into()]);
        assert!(subscriptions.covers("a"));
        assert!(
            subscriptions.change(true, &[], &[]).prefixes.is_empty(),
            "an ACK is no subscription"
        );
        subscriptions.change(true, &strings(&["b"]), &[]);
        assert!(!subscriptions.covers("a") && subscriptions.covers("b"));
    }

    #[test]
    fn an_explicit_wildcard_stays_beside_names() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.change(true, &strings(&["*", "b"]), &[]);
        assert!(subscriptions.covers("a"));
        subscriptions.change(true, &[], &strings(&["*"]));
        assert!(!subscriptions.covers("a") && subscriptions.covers("b"));
    }

    #[test]
    fn a_collection_covers_one_level() {
        let mut subscriptions = Subscriptions::default();
        let added = subscriptions.change(true, &strings(&["xdstp://a/T/x/*"]), &[]);
        assert_eq!(added.prefixes, ["xdstp://a/T/x/".into()]);
        assert!(subscriptions.covers("xdstp://a/T/x/1"));
        assert!(!subscriptions.covers("xdstp://a/T/x/y/1"));
        assert!(!subscriptions.covers("xdstp://a/T/y/1"));
        subscriptions.change(true, &[], &strings(&["xdstp://a/T/x/*"]));
        assert!(!subscriptions.covers("xdstp://a/T/x/1"));
    }
}
