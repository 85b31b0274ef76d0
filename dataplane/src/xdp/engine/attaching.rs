//! The engine's program on the node's interfaces.

use super::Engine;

impl Engine {
    /// Attaches the program where it is not attached, once a configuration is in force.
    pub(super) fn attach(&mut self) {
        if self.apart {
            return;
        }
        for interface in &self.settings.interfaces {
            if self.program.is_attached(interface)
                && matches!(self.attachments.get(interface), Some(Ok(_)))
            {
                continue;
            }
            let attachment = self.program.attach(interface).map_err(|error| error.to_string());
            if self.attachments.get(interface) != Some(&attachment) {
                match &attachment {
                    Ok(mode) => tracing::info!(%interface, %mode, "XDP attached"),
                    Err(reason) => tracing::warn!(%interface, %reason, "XDP not attached"),
                }
            }
            self.attachments.insert(interface.clone(), attachment);
        }
        let tidied = self
            .settings
            .pins
            .remove_other_layouts()
            .and_then(|_| self.settings.pins.remove_other_links(&self.settings.interfaces));
        if let Err(error) = tidied {
            tracing::warn!(%error, "pins of another time were not removed");
        }
    }
}
