//! The program on interfaces: attached by pinned links, or put into the links that are there.

use std::{ffi::CString, fmt, fs};

use aya::programs::{
    ProgramError, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use super::{Program, xdp};

/// Tells why an interface does not run the program.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such interface.
    #[error("no such interface")]
    NoInterface,
    /// Another XDP program is there.
    #[error("another XDP program is attached")]
    Busy,
    /// Neither mode was accepted.
    #[error("native mode: {native}; generic mode: {generic}")]
    Refused {
        /// What was said of native mode.
        native: String,
        /// What was said of generic mode.
        generic: String,
    },
    /// The kernel has no XDP links (before Linux 5.9), so nothing could be pinned.
    #[error("the kernel has no XDP links, which came with Linux 5.9")]
    NoLinks,
    /// The link could not be pinned or taken over.
    #[error("the link's pin: {0}")]
    Pin(String),
}

/// How an interface runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver.
    Native,
    /// In the network stack, and why not in the driver; `None` when an earlier process knew.
    Generic(Option<String>),
}

impl Mode {
    /// Returns `native` or `generic`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic(_) => "generic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native | Self::Generic(None) => f.write_str(self.name()),
            Self::Generic(Some(reason)) => write!(f, "generic ({reason})"),
        }
    }
}

impl Program {
    /// Attaches the program to an interface, or puts it into the link that is there: in driver
    /// mode, else in generic mode.
    ///
    /// # Errors
    /// Returns why the interface does not run it.
    pub fn attach(&mut self, interface: &str) -> Result<Mode, AttachError> {
        let name = CString::new(interface).map_err(|_| AttachError::NoInterface)?;
        // SAFETY: the string ends with a zero byte.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(AttachError::NoInterface);
        }
        for mode in [Mode::Native, Mode::Generic(None)] {
            if self.take_over(interface, index, &mode)? {
                return Ok(mode);
            }
        }
        match self.attach_new(interface, index, &Mode::Native) {
            Ok(()) => Ok(Mode::Native),
            Err(Refusal::Final(error)) => Err(error),
            Err(Refusal::Mode(native)) => {
                match self.attach_new(interface, index, &Mode::Generic(None)) {
                    Ok(()) => Ok(Mode::Generic(Some(native))),
                    Err(Refusal::Final(error)) => Err(error),
                    Err(Refusal::Mode(generic)) => Err(AttachError::Refused { native, generic }),
                }
            }
        }
    }

    /// Tells whether an interface that was attached is still the same one.
    #[must_use]
    pub fn is_attached(&self, interface: &str) -> bool {
        let Ok(name) = CString::new(interface) else { return false };
        // SAFETY: the string ends with a zero byte.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        self.links.get(interface).is_some_and(|(attached, _)| index != 0 && *attached == index)
    }

    /// Puts the program into the links of all interfaces.
    pub(super) fn replace_in_links(&mut self) {
        for (interface, (index, _)) in std::mem::take(&mut self.links) {
            for mode in [Mode::Native, Mode::Generic(None)] {
                // One that is left out is attached again by the next reconciliation.
                if let Err(error) = self.take_over(&interface, index, &mode) {
                    tracing::warn!(%interface, %error, "XDP program not replaced");
                }
            }
        }
    }

    /// Puts the program into a pinned link, and tells whether there was one that lives.
    fn take_over(&mut self, interface: &str, index: u32, mode: &Mode) -> Result<bool, AttachError> {
        let Some(pins) = &self.pins else { return Ok(false) };
        let path = pins.link(interface, mode.name());
        if !path.exists() {
            return Ok(false);
        }
        let pin = |error: String| AttachError::Pin(error);
        let pinned = PinnedLink::from_pin(&path).map_err(|error| pin(error.to_string()))?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|e| pin(e.to_string()))?;
        let xdp = xdp(&mut self.ebpf);
        match xdp.attach_to_link(link) {
            Ok(id) => {
                // Held by its pin; kept out of aya's set, which would detach on drop.
                let _taken = xdp.take_link(id).map_err(|error| pin(error.to_string()))?;
                let pinned = PinnedLink::from_pin(&path).map_err(|e| pin(e.to_string()))?;
                self.links.insert(interface.to_owned(), (index, pinned));
                Ok(true)
            }
            // Its interface is gone (ENOLINK): one of the same name is another.
            Err(error) if os_error(&error) == Some(libc::ENOLINK) => {
                fs::remove_file(&path).map_err(|error| pin(error.to_string()))?;
                Ok(false)
            }
            Err(error) => Err(pin(words(&error))),
        }
    }

    fn attach_new(&mut self, interface: &str, index: u32, mode: &Mode) -> Result<(), Refusal> {
        let Some(pins) = self.pins.clone() else {
            let apart = "a program apart is in no interface".to_owned();
            return Err(Refusal::Final(AttachError::Pin(apart)));
        };
        let xdp_mode = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic(_) => XdpMode::Skb,
        };
        let xdp = xdp(&mut self.ebpf);
        let id =
            xdp.attach_to_if_index(index, xdp_mode).map_err(|error| match os_error(&error) {
                Some(libc::EBUSY | libc::EEXIST) => Refusal::Final(AttachError::Busy),
                Some(libc::ENODEV) => Refusal::Final(AttachError::NoInterface),
                _ => Refusal::Mode(words(&error)),
            })?;
        let pin = |error: String| Refusal::Final(AttachError::Pin(error));
        let link = xdp.take_link(id).map_err(|error| pin(error.to_string()))?;
        // aya falls back to netlink on its own; such an attachment cannot be pinned. It ends
        // with the failed conversion.
        let link = FdLink::try_from(link).map_err(|_| Refusal::Final(AttachError::NoLinks))?;
        let path = pins.link(interface, mode.name());
        let pinned = link.pin(&path).map_err(|error| pin(error.to_string()))?;
        self.links.insert(interface.to_owned(), (index, pinned));
        Ok(())
    }
}

enum Refusal {
    /// The mode is refused; another may be accepted.
    Mode(String),
    /// No mode will be.
    Final(AttachError),
}

fn os_error(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn words(error: &ProgramError) -> String {
    match error {
        ProgramError::SyscallError(error) => format!("{}: {}", error.call, error.io_error),
        other => other.to_string(),
    }
}
