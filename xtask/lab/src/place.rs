//! Where a process or a thread runs: on this host, or inside a network namespace with a view of
//! `/sys` and a BPF file system of its own. It makes no namespaces (see `netns`).
//!
//! `ip netns exec` hides `/sys/fs/bpf` behind a fresh `/sys`, and pins made in it vanish with the
//! process. A host of the laboratory has a BPF file system that the laboratory mounted, bound over
//! `/sys/fs/bpf`, so that pins outlive processes as they do on a real host.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// Where the kernel's named network namespaces stand.
pub(crate) const NETNS_DIRECTORY: &str = "/run/netns";

/// Where something runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Place {
    /// The network namespace of the caller.
    #[default]
    Here,
    /// A host of the laboratory.
    Host {
        /// Name of the network namespace.
        namespace: String,
        /// BPF file system to show at `/sys/fs/bpf`.
        bpffs: Option<PathBuf>,
    },
}

impl Place {
    /// A namespace by its name, without a BPF file system of its own.
    #[must_use]
    pub fn namespace(name: &str) -> Self {
        Self::Host { namespace: name.to_owned(), bpffs: None }
    }

    /// Runs `work` on a thread of this place and waits for it.
    ///
    /// # Errors
    /// When the namespace cannot be entered (it is gone, or the caller is not root).
    ///
    /// # Panics
    /// With the panic of `work`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a named thread in this place. Sockets that it opens belong to the place.
    ///
    /// # Errors
    /// When no thread can be started. A namespace that cannot be entered ends the thread with a
    /// message on stderr.
    pub fn spawn(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>> {
        let place = self.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || match place.enter() {
                Ok(()) => work(),
                Err(error) => eprintln!("lab: {error:#}"),
            })
            .with_context(|| format!("starting thread {name}"))
    }

    /// Moves the calling thread into this place, for good.
    fn enter(&self) -> Result<()> {
        if let Self::Host { namespace, .. } = self {
            let file = open_namespace(namespace)?;
            setns(&file, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("entering network namespace {namespace}"))?;
        }
        Ok(())
    }

    /// Makes `command` start in this place.
    ///
    /// # Errors
    /// When the namespace does not exist.
    pub(crate) fn prepare(&self, command: &mut Command) -> Result<()> {
        let Self::Host { namespace, bpffs } = self else { return Ok(()) };
        let file = open_namespace(namespace)?;
        let bpffs = bpffs
            .as_ref()
            .map(|path| CString::new(path.as_os_str().as_encoded_bytes()))
            .transpose()
            .context("a BPF file system path with a NUL in it")?;
        let enter = move || {
            let _keep_open = file.as_raw_fd();
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)?;
            mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)?;
            if let Some(bpffs) = &bpffs {
                mount(Some(bpffs.as_c_str()), "/sys/fs/bpf", none, MsFlags::MS_BIND, none)?;
            }
            io::Result::Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls only. nix copies each path
        // to a buffer on the stack (they are shorter than its limit of 1,024 bytes), so nothing is
        // allocated and no lock is taken.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }
}

fn open_namespace(name: &str) -> Result<File> {
    let path = format!("{NETNS_DIRECTORY}/{name}");
    File::open(&path).with_context(|| format!("opening network namespace {path}"))
}
