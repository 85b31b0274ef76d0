//! One use of the laboratory: a name, a directory, and the promise that nothing of it is left
//! when it ends. Processes carry the name in their environment, namespaces carry it as a prefix,
//! so that cleaning up needs the name only and works for an instance whose owner is dead.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::place::{NETNS_DIRECTORY, Place};
use crate::{signals, tool, waiting};

/// Environment variable that marks every process of an instance.
pub const MARK: &str = "MARCHPROXY_LAB";

/// A process that is killed with -9 is gone after a scheduling round; a second is ample, and a
/// process that forks while it is being killed is met by the next round.
const KILL_ROUNDS: usize = 100;
const KILL_ROUND: Duration = Duration::from_millis(10);

static COUNT: AtomicU32 = AtomicU32::new(0);
static LIVE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A laboratory instance. Dropping it kills its processes, removes its namespaces and mounts, and
/// deletes its directory.
#[derive(Debug)]
pub struct Instance {
    name: String,
    directory: PathBuf,
    persistent: bool,
}

impl Instance {
    /// Makes an instance with a name of its own, after clearing away those whose owner is dead.
    ///
    /// # Errors
    /// When its directory cannot be made.
    pub fn new() -> Result<Self> {
        sweep();
        let serial = COUNT.fetch_add(1, Ordering::Relaxed);
        let instance = Self::create(&format!("mp{:x}x{serial:x}", std::process::id()), false)?;
        Ok(instance)
    }

    /// Makes an instance that outlives this process, for `lab up`.
    ///
    /// # Errors
    /// When the name is taken or its directory cannot be made.
    pub fn persistent(name: &str) -> Result<Self> {
        Self::create(name, true)
    }

    /// Finds an instance that another process made.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn open(name: &str) -> Result<Self> {
        let directory = root_directory().join(name);
        anyhow::ensure!(directory.is_dir(), "no laboratory named {name}");
        Ok(Self { name: name.to_owned(), directory, persistent: true })
    }

    fn create(name: &str, persistent: bool) -> Result<Self> {
        signals::install()?;
        let directory = root_directory().join(name);
        fs::create_dir_all(root_directory())
            .and_then(|()| fs::create_dir(&directory))
            .with_context(|| format!("making {}", directory.display()))?;
        fs::create_dir(directory.join("logs"))?;
        if !persistent {
            fs::write(directory.join("owner"), format!("{}", std::process::id()))?;
            LIVE.lock().expect("no panic while held").push(name.to_owned());
        }
        Ok(Self { name: name.to_owned(), directory, persistent })
    }

    /// The name: prefix of its namespaces, mark of its processes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory; gone when the instance is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its processes log.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// The last lines of every log, for a failure report.
    #[must_use]
    pub fn log_tails(&self, lines: usize) -> String {
        let mut text = String::new();
        let mut files = files_in(&self.logs());
        // A data plane is started by its control process and logs beside its sockets.
        for host in files_in(&self.directory) {
            files.push(host.join("run").join("dataplane.log"));
        }
        for file in files {
            let content = fs::read(&file).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            let all: Vec<&str> = content.lines().collect();
            if !all.is_empty() {
                text += &format!("--- {} ({} lines)\n", file.display(), all.len());
                text += &all[all.len().saturating_sub(lines)..].join("\n");
                text.push('\n');
            }
        }
        text
    }

    /// Ends the instance, also a persistent one.
    pub fn destroy(self) {
        destroy(&self.name);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.persistent {
            return;
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log_tails(40));
        }
        destroy(&self.name);
        LIVE.lock().expect("no panic while held").retain(|name| *name != self.name);
    }
}

/// Names of the instances that have a directory.
#[must_use]
pub fn list() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root_directory())
        .map(|entries| {
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

/// Pids of the processes that carry the mark of an instance.
#[must_use]
pub fn processes(name: &str) -> Vec<Pid> {
    let mark = format!("{MARK}={name}");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|text| text.split(|byte| *byte == 0).any(|part| part == mark.as_bytes()))
        })
        .map(Pid::from_raw)
        .collect()
}

/// Removes all that belongs to an instance. Everything that fails is passed over: this runs after
/// failures, and the next sweep tries again.
pub(crate) fn destroy(name: &str) {
    let me = Pid::this();
    for _ in 0..KILL_ROUNDS {
        let victims: Vec<Pid> = processes(name).into_iter().filter(|pid| *pid != me).collect();
        if victims.is_empty() {
            break;
        }
        for pid in victims {
            let _ = kill(pid, Signal::SIGKILL);
        }
        waiting::pause(KILL_ROUND);
    }
    for namespace in namespaces(name) {
        let _ = tool::run(&Place::Here, "ip", &["netns", "del", &namespace]);
    }
    let directory = root_directory().join(name);
    for mount in mounts_under(&directory) {
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
    let _ = fs::remove_dir_all(&directory);
}

/// Removes the live instances of this process: it was told to stop.
pub(crate) fn destroy_live() {
    let names = LIVE.lock().map(|live| live.clone()).unwrap_or_default();
    for name in names {
        destroy(&name);
    }
}

/// What a folder holds, sorted.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

/// Network namespaces of an instance.
#[must_use]
pub fn namespaces(name: &str) -> Vec<String> {
    let prefix = format!("{name}-");
    fs::read_dir(NETNS_DIRECTORY)
        .map(|entries| {
            entries
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter(|namespace| namespace.starts_with(&prefix))
                .collect()
        })
        .unwrap_or_default()
}

/// Clears away instances whose owner is dead (killed with -9, or out of memory).
fn sweep() {
    for name in list() {
        let owner = fs::read_to_string(root_directory().join(&name).join("owner"));
        let Some(pid) = owner.ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
            continue;
        };
        if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            destroy(&name);
        }
    }
}

fn root_directory() -> PathBuf {
    root_directory_of(Uid::effective())
}

/// Each user has one: what one user made, another can neither enter nor clear away.
fn root_directory_of(user: Uid) -> PathBuf {
    std::env::temp_dir().join(format!("marchproxy-lab-{user}"))
}

/// Mount points under a directory, deepest first.
fn mounts_under(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut mounts: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(PathBuf::from)
        .filter(|path| path.starts_with(directory))
        .collect();
    mounts.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_has_a_directory_of_its_own() {
        let (root, nobody) = (Uid::from_raw(0), Uid::from_raw(65534));
        assert_ne!(root_directory_of(root), root_directory_of(nobody));
        assert_eq!(root_directory_of(nobody).parent(), root_directory_of(root).parent());
    }
}
