//! Which threads a worker goes before.

use std::{fmt, io, str::FromStr};

use serde::{Deserialize, Serialize};

/// How much a worker goes before other processes, which have 0, where it has no real-time priority:
/// it is a part of the packet path.
const NICENESS: libc::c_int = -10;
/// The lowest real-time priority: before all that has none, behind all that has one.
const LOWEST: u32 = 1;

/// A worker's priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// The lowest real-time priority (`SCHED_RR`): what is due leaves in time on a busy host too. A
    /// worker that never runs out of work rests a fifth of the time, whatever its priority.
    #[default]
    Realtime,
    /// That of other processes, somewhat before them.
    Usual,
}

impl Priority {
    /// All, in words.
    pub const NAMES: [&'static str; 2] = ["realtime", "usual"];

    /// Gives it to the calling thread; returns the one that the thread has then, and why not this.
    #[must_use]
    pub fn take(self) -> (Self, Option<io::Error>) {
        let refused = match self {
            Self::Usual => None,
            Self::Realtime => match schedule(libc::SCHED_RR, 0, LOWEST) {
                Ok(()) => return (Self::Realtime, None),
                Err(error) => Some(error),
            },
        };
        // A help that may be missing.
        let _kept = schedule(libc::SCHED_OTHER, NICENESS, 0);
        (Self::Usual, refused)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::NAMES[*self as usize])
    }
}

/// It is no priority.
#[derive(Debug, thiserror::Error)]
#[error("{0} is no priority of workers: write realtime or usual")]
pub struct InvalidPriority(String);

impl FromStr for Priority {
    type Err = InvalidPriority;

    fn from_str(text: &str) -> Result<Self, InvalidPriority> {
        [Self::Realtime, Self::Usual]
            .into_iter()
            .find(|priority| priority.to_string() == text)
            .ok_or_else(|| InvalidPriority(text.to_owned()))
    }
}

/// Sets how the calling thread is scheduled (sched_setattr(2)).
fn schedule(policy: libc::c_int, nice: libc::c_int, priority: u32) -> io::Result<()> {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of_val(&attributes) as u32;
    attributes.sched_policy = policy as u32;
    attributes.sched_flags = libc::SCHED_FLAG_RESET_ON_FORK as u64;
    attributes.sched_nice = nice;
    attributes.sched_priority = priority;
    // SAFETY: the attributes are read during the call only, which is about the calling thread alone.
    let failed = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_a_thread_has_the_priority_that_it_says() {
        let scheduled = |priority: Priority| {
            let taken = move || {
                let (taken, refused) = priority.take();
                // SAFETY: no pointer is passed; both are about the calling thread.
                let (policy, nice) = unsafe {
                    (libc::sched_getscheduler(0), libc::getpriority(libc::PRIO_PROCESS, 0))
                };
                (taken, refused.map(|error| error.to_string()), policy, nice)
            };
            std::thread::spawn(taken).join().expect("no panic")
        };
        let (taken, refused, policy, _) = scheduled(Priority::Realtime);
        // Flag of a thread whose children have the usual priority.
        let policy = policy & !libc::SCHED_RESET_ON_FORK;
        assert_eq!((taken, refused, policy), (Priority::Realtime, None, libc::SCHED_RR));
        let (taken, refused, policy, nice) = scheduled(Priority::Usual);
        let policy = policy & !libc::SCHED_RESET_ON_FORK;
        assert_eq!((taken, refused, policy, nice), (Priority::Usual, None, libc::SCHED_OTHER, -10));
    }

    #[test]
    fn a_priority_is_read_as_it_is_told() {
        for (priority, name) in
            [Priority::Realtime, Priority::Usual].into_iter().zip(Priority::NAMES)
        {
            assert_eq!((priority.to_string().as_str(), name.parse().ok()), (name, Some(priority)));
            assert_eq!(serde_json::to_value(priority).unwrap(), name);
        }
        let error = "high".parse::<Priority>().unwrap_err().to_string();
        assert_eq!(error, "high is no priority of workers: write realtime or usual");
    }
}
