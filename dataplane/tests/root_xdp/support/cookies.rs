//! Configurations whose listeners answer SYNs by cookies.

use std::sync::Arc;

use dataplane::Desired;
use model::{
    Listener, Object, Spec,
    listener::{Forwarding, Protocol, SynCookies},
};

/// Lets all TCP listeners with full NAT answer SYNs by cookies.
pub(crate) fn answering_by_cookies(mut desired: Desired) -> Desired {
    let revision = desired.config.revision();
    let listeners: Vec<_> =
        desired.config.listeners().map(|(key, listener)| (key.clone(), listener.clone())).collect();
    for (key, listener) in listeners {
        if listener.protocol == Protocol::Tcp && listener.forwarding() == Forwarding::Nat {
            let metadata = desired.config.get(&key).expect("it is there").metadata.clone();
            let spec =
                Spec::Listener(Listener { syn_cookies: Some(SynCookies::Always), ..listener });
            desired.config.put(Arc::new(Object { metadata, spec }));
        }
    }
    desired.config.set_revision(revision);
    desired
}
