//! A keeper: a small process that keeps another one for an owner that may be replaced.
//!
//! ```text
//! owner (holds its own lock) ──starts──▶ keeper (holds the kept one's lock) ──parent of──▶ kept
//! ```
//! The kept process is tied to its keeper by the kernel, and by the keeper to the owner: an owner
//! that ends is waited for, since its next incarnation finds the keeper by the lock and goes on with
//! it; when none comes within the time allowed, the kept process is ended. Killing the keeper ends
//! the kept process too. So an owner may crash or be upgraded, and nothing is left behind.
//!
//! Whoever owns the program decides how its file is started as a keeper ([`Keeper`]); there it hands
//! what follows `--` to [`Keep::parse`] and [`Keep::run`].

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{fd::AsFd, unix::process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{Pid, getppid},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};

use super::{
    LockError, PidLock,
    lock::written_pid,
    output::{self, LINE_MAX},
    running::{ended, open_pidfd},
    spawn::{Output, ProcessSpec, Tie},
};
use crate::durable;

/// How often the owner's next incarnation is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the last lines of a process that has ended may take.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(200);

/// How a keeper is started: a program, and what comes before `--` on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// The executable.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<OsString>,
}

impl Keeper {
    /// Returns what to start for a process to be kept.
    #[must_use]
    pub fn spec(&self, name: &str, keep: &Keep) -> ProcessSpec {
        let mut arguments = self.arguments.clone();
        arguments.push("--".into());
        arguments.extend(keep.to_arguments());
        ProcessSpec {
            name: name.to_owned(),
            program: self.program.clone(),
            arguments,
            environment: Vec::new(),
            tie: Tie::Outlives,
            // Its own words go where the kept one's go; the owner's streams may be somebody's pipe.
            output: Output::Discarded,
        }
    }
}

/// What is kept, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The lock file of the owner.
    pub owner: PathBuf,
    /// The lock file that the keeper holds, by which an owner adopts it.
    pub lock: PathBuf,
    /// Where the pid of the kept process is written.
    pub pid_file: PathBuf,
    /// The named pipe that its lines go to; those that find no room are dropped.
    pub output: PathBuf,
    /// How long it is kept without an owner.
    pub linger: Duration,
    /// How long it may take to end when asked, before it is killed.
    pub grace: Duration,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Why a keeper did not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The command line is another one.
    #[error("this command is for the data plane's own use")]
    Arguments,
    /// The lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The owner ended meanwhile.
    #[error("nobody holds {}", path.display())]
    NoOwner {
        /// The owner's lock.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("cannot {what}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// The operating system's words.
        #[source]
        source: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> KeepError {
    move |source| KeepError::System { what, source }
}

impl Keep {
    fn to_arguments(&self) -> Vec<OsString> {
        let ms = |time: Duration| OsString::from(time.as_millis().to_string());
        let mut arguments: Vec<OsString> = vec![
            self.owner.clone().into(),
            self.lock.clone().into(),
            self.pid_file.clone().into(),
            self.output.clone().into(),
            ms(self.linger),
            ms(self.grace),
            self.program.clone().into(),
        ];
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    /// Reads what follows `--` on a keeper's command line.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, KeepError> {
        let mut arguments = arguments.into_iter();
        let mut next = || arguments.next().ok_or(KeepError::Arguments);
        let path = |text: OsString| PathBuf::from(text);
        let time = |text: OsString| {
            let ms = text.to_str().and_then(|text| text.parse().ok());
            ms.map(Duration::from_millis).ok_or(KeepError::Arguments)
        };
        Ok(Self {
            owner: path(next()?),
            lock: path(next()?),
            pid_file: path(next()?),
            output: path(next()?),
            linger: time(next()?)?,
            grace: time(next()?)?,
            program: path(next()?),
            arguments: arguments.collect(),
        })
    }

    /// Runs as the keeper until the kept process has ended, and returns the exit code that tells of
    /// that: the kept one's own, or 128 and the number of the signal.
    ///
    /// Only for the one thread of a process that does nothing else: the kernel ties the kept process
    /// to the thread that starts it.
    ///
    /// # Errors
    /// See [`KeepError`]; nothing is left running then.
    pub async fn run(self) -> Result<u8, KeepError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("receive signals"))?;
        let owner = written_pid(&self.owner).map(Pid::from_raw);
        let _lock = PidLock::acquire(&self.lock)?;
        // From here on the next owner finds this keeper; one that ended before does not.
        let Some(mut owner) = owner.filter(|owner| *owner == getppid()) else {
            return Err(KeepError::NoOwner { path: self.owner });
        };
        let mut child = self.spawn()?;
        let words = self.forward(&mut child);
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let note = pid.map(|pid| {
            durable::replace_volatile(&self.pid_file, pid.to_string().as_bytes(), 0o644)
        });
        note.transpose().map_err(system("write the pid file"))?;
        loop {
            let asked = tokio::select! {
                status = child.wait() => return self.ended(status, words).await,
                _ = terminate.recv() => true,
                next = self.owner_after(owner) => match next {
                    Some(next) => {
                        owner = next;
                        false
                    }
                    None => true,
                },
            };
            if asked {
                let status = stop(&mut child, self.grace).await;
                return self.ended(status, words).await;
            }
        }
    }

    fn spawn(&self) -> Result<Child, KeepError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let keeper = std::process::id();
        let between_fork_and_exec = move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid().as_raw() as u32 == keeper {
                Ok(())
            } else {
                Err(io::Error::from(nix::errno::Errno::ESRCH))
            }
        };
        // SAFETY: the closure runs between fork and exec and makes only async-signal-safe system
        // calls (prctl, getppid); it neither allocates nor takes locks.
        unsafe { command.pre_exec(between_fork_and_exec) };
        command.spawn().map_err(system("start the process to be kept"))
    }

    /// Hands on what the kept process says.
    fn forward(&self, child: &mut Child) -> Vec<JoinHandle<()>> {
        let streams: [Option<Box<dyn AsyncRead + Send + Unpin>>; 2] = [
            child.stdout.take().map(|stream| Box::new(stream) as _),
            child.stderr.take().map(|stream| Box::new(stream) as _),
        ];
        let output = self.output.clone();
        let forwarding = streams.into_iter().flatten().map(move |stream| {
            let output = output.clone();
            tokio::spawn(async move { forward(stream, &output).await })
        });
        forwarding.collect()
    }

    async fn ended(
        &self,
        status: io::Result<ExitStatus>,
        words: Vec<JoinHandle<()>>,
    ) -> Result<u8, KeepError> {
        for word in words {
            // Whoever inherited its streams may hold them open.
            let _ = tokio::time::timeout(LAST_WORDS_WITHIN, word).await;
        }
        let status = status.map_err(system("wait for the kept process"))?;
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        Ok(u8::try_from(code).unwrap_or(1))
    }

    /// Waits until an owner ends, and then for the next one; none within the time allowed.
    async fn owner_after(&self, owner: Pid) -> Option<Pid> {
        if let Ok(pidfd) = open_pidfd(owner) {
            ended(&pidfd).await;
        }
        let next = async {
            let mut look = tokio::time::interval(LOOK_EVERY);
            loop {
                look.tick().await;
                let written = written_pid(&self.owner).map(Pid::from_raw);
                if let Some(next) = written.filter(|next| *next != owner)
                    && open_pidfd(next).is_ok()
                {
                    return next;
                }
            }
        };
        tokio::time::timeout(self.linger, next).await.ok()
    }
}

async fn stop(child: &mut Child, grace: Duration) -> io::Result<ExitStatus> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It is not reaped yet, so the number is its own.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    if let Ok(status) = tokio::time::timeout(grace, child.wait()).await {
        return status;
    }
    child.kill().await?;
    child.wait().await
}

/// Hands lines on to a named pipe; drops those that find no room, or no pipe.
async fn forward(stream: impl AsyncRead + Send + Unpin, output: &Path) {
    let pipe = output::open_pipe(output).ok();
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if let Some(pipe) = &pipe {
                    // Without a reader it fills up, and then the kept one's work counts for more.
                    let _ = nix::unistd::write(pipe.as_fd(), &line);
                }
            }
        }
    }
}

/// Returns what follows `--` on this process's command line.
#[must_use]
pub fn after_dashes() -> Vec<OsString> {
    let mut arguments = std::env::args_os();
    arguments.by_ref().take_while(|argument| argument != OsStr::new("--")).for_each(drop);
    arguments.collect()
}

#[cfg(test)]
mod tests;
