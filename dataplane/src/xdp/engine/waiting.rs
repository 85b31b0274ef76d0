//! The workers that make packets wait: where there are any, how they stand, what they have done.

use super::Engine;
use crate::afxdp::{
    host,
    placement::{self, Nic},
    view::WaitingView,
};

impl Engine {
    /// Tells the workers how packets wait under the configuration to come, as well as how they do
    /// under the one in force: what waits under a policy that goes is dropped when that is out of
    /// force, by [`Self::staff`].
    pub(super) fn shape_both(&mut self) {
        let mut shapes = self.crew.shapes().as_ref().clone();
        shapes.extend(self.image.treatments().shapes());
        self.crew.shape(shapes);
    }

    /// Has a worker at each queue, where something is to wait.
    pub(super) fn staff(&mut self) {
        self.crew.shape(self.image.treatments().shapes());
        let mut posts = Vec::new();
        if self.crew.is_wanted() {
            let attached = |name: &&String| matches!(self.attachments.get(*name), Some(Ok(_)));
            let names = self.settings.interfaces.iter().filter(attached);
            let nics: Vec<Nic> = names.map(|name| host::nic(name)).collect();
            for post in placement::place(&host::topology(), &nics) {
                // One that is gone has no worker; the next reconciliation looks again.
                if let Ok(ifindex) = nix::net::if_::if_nametoindex(&*post.interface) {
                    posts.push((post, ifindex));
                }
            }
        }
        let staffed = self.crew.staff(&posts, || self.program.sockets());
        self.unstaffed = staffed.err().map(|error| error.to_string());
        self.told = self.problems();
    }

    /// Says why packets do not wait, or wait longer than they need to, where policies ask for it.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let unstaffed = self.unstaffed.iter().map(|reason| format!("no workers: {reason}"));
        unstaffed.chain(self.crew.problems()).chain(self.crew.astray()).collect()
    }

    /// Looks after the workers, and returns what they have done. Meant to be called every few seconds.
    pub fn waiting(&mut self) -> WaitingView {
        self.crew.look();
        self.waiting_view()
    }

    /// Returns what the workers have done.
    pub(super) fn waiting_view(&mut self) -> WaitingView {
        let owners =
            self.image.treatments().limiters().iter().map(|((policy, listener), number)| {
                ((policy.to_string(), listener.to_string()), number)
            });
        WaitingView::new(owners, &self.crew.shapes(), self.crew.tallies())
    }
}
