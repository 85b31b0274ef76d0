//! Child processes: started in a place, logging to files, killed by pid, and gone when their
//! handle is dropped. Restarting is the caller's business.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::instance::MARK;
use crate::place::Place;
use crate::waiting::{pause, wait_until};

/// How often a child that is to end is looked at.
const EXIT_POLL: Duration = Duration::from_millis(3);

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct Launch {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    place: Place,
}

impl Launch {
    /// A launch of `program` that is marked as a part of `instance`.
    #[must_use]
    pub fn new(instance: &str, place: &Place, program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: vec![(MARK.to_owned(), instance.to_owned())],
            place: place.clone(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it in the background; stdout and stderr are appended to `NAME.out` and `NAME.err`
    /// in `logs`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, name: &str, logs: &Path) -> Result<Process> {
        let (out, err) = (logs.join(format!("{name}.out")), logs.join(format!("{name}.err")));
        let open = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("opening {}", path.display()))
        };
        let skip = fs::metadata(&out).map_or(0, |metadata| metadata.len());
        let child = self
            .command()?
            .stdin(Stdio::null())
            .stdout(open(&out)?)
            .stderr(open(&err)?)
            .spawn()
            .with_context(|| format!("starting {}", self.line()))?;
        Ok(Process { name: name.to_owned(), child, out, err, skip })
    }

    /// Runs it to its end, or kills it after `limit`.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time. An exit status other than 0 is no error.
    pub fn output(&self, limit: Duration) -> Result<Output> {
        self.output_with_input(limit, "")
    }

    /// As [`Launch::output`], with text on stdin.
    ///
    /// # Errors
    /// As [`Launch::output`].
    pub fn output_with_input(&self, limit: Duration, input: &str) -> Result<Output> {
        let mut stdin = tempfile::tempfile()?;
        std::io::Write::write_all(&mut stdin, input.as_bytes())?;
        std::io::Seek::rewind(&mut stdin)?;
        let mut child = self
            .command()?
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.line()))?;
        let stdout = read_all(child.stdout.take());
        let stderr = read_all(child.stderr.take());
        let Some(status) = wait_limited(&mut child, limit)? else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{} did not end within {limit:?}", self.line());
        };
        let text = |reader: std::thread::JoinHandle<String>| reader.join().unwrap_or_default();
        Ok(Output { line: self.line(), status, stdout: text(stdout), stderr: text(stderr) })
    }

    /// Runs it with our own stdin, stdout and stderr, for people.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn interactive(&self) -> Result<ExitStatus> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        self.place.prepare(&mut command)?;
        command.status().with_context(|| format!("starting {}", self.line()))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.program);
        // A group of its own: Ctrl-C at the terminal reaches the laboratory only, which then
        // takes its processes down in order.
        command.args(&self.arguments).envs(self.environment.iter().cloned()).process_group(0);
        self.place.prepare(&mut command)?;
        Ok(command)
    }

    fn line(&self) -> String {
        format!("`{} {}`", self.program.display(), self.arguments.join(" "))
    }
}

/// What a finished process said.
#[derive(Debug, Clone)]
pub struct Output {
    line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Stdout of a process that exited with 0.
    ///
    /// # Errors
    /// When it did not, with all that it wrote.
    pub fn ok(self) -> Result<String> {
        if self.success() {
            return Ok(self.stdout);
        }
        bail!("{}: {}\n{}{}", self.line, self.status, self.stdout, self.stderr)
    }

    /// Stdout and stderr of a process that was meant to fail.
    ///
    /// # Errors
    /// When it exited with 0 or was killed by a signal (a crash is no refusal).
    pub fn refused(self) -> Result<String> {
        let said = format!("{}{}", self.stdout, self.stderr);
        if self.success() {
            bail!("{} succeeded but was to fail:\n{said}", self.line);
        }
        if let Some(signal) = self.status.signal() {
            bail!("{} was killed by signal {signal}:\n{said}", self.line);
        }
        if said.contains("panicked at") {
            bail!("{} panicked:\n{said}", self.line);
        }
        Ok(said)
    }
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
    skip: u64,
}

impl Process {
    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    /// How it ended, when it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What this run wrote to stdout.
    #[must_use]
    pub fn stdout(&self) -> String {
        let bytes = fs::read(&self.out).unwrap_or_default();
        let skip = usize::try_from(self.skip).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[skip..]).into_owned()
    }

    /// What every run of this name wrote to stderr.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).unwrap_or_default()).into_owned()
    }

    /// Waits for a line of stdout that holds `text` and returns it.
    ///
    /// # Errors
    /// When the process ends first, or after `limit`.
    pub fn line_with(&mut self, text: &str, limit: Duration) -> Result<String> {
        let what = format!("a line with {text:?} from {}", self.name);
        wait_until(what, limit, || {
            let stdout = self.stdout();
            let complete = stdout.rfind('\n').map_or("", |end| &stdout[..end]);
            if let Some(line) = complete.lines().find(|line| line.contains(text)) {
                return Ok(Ok(line.to_owned()));
            }
            if let Some(status) = self.ended() {
                return Ok(Err(anyhow::anyhow!(
                    "{} ended ({status}) before it said {text:?}:\n{stdout}{}",
                    self.name,
                    self.stderr()
                )));
            }
            bail!("it said so far:\n{stdout}{}", self.stderr())
        })?
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("signalling {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait_limited(&mut self.child, limit)?
            .with_context(|| format!("{} still runs after {limit:?}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process exists and is not a zombie.
#[must_use]
pub fn alive(pid: Pid) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// State letter of a process, from `/proc/PID/stat`.
fn state(pid: Pid) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    fields.next()?.chars().next()
}

fn wait_limited(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= limit {
            return Ok(None);
        }
        pause(EXIT_POLL);
    }
}

fn read_all(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Launch {
        Launch::new("none", &Place::Here, "/bin/sh").args(["-c", script])
    }

    #[test]
    fn a_run_gives_status_stdout_and_stderr() {
        let output = shell("cat; echo oops >&2; exit 3")
            .output_with_input(Duration::from_secs(5), "hello")
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.as_str()), (Some(3), "hello"));
        assert!(output.clone().ok().is_err());
        assert_eq!(output.refused().unwrap(), "hellooops\n");
    }

    #[test]
    fn a_crash_is_no_refusal() {
        let output = shell("kill -9 $$").output(Duration::from_secs(5)).unwrap();
        assert!(output.refused().unwrap_err().to_string().contains("signal 9"));
    }

    #[test]
    fn a_run_that_does_not_end_is_killed() {
        let error = shell("exec sleep 60").output(Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
    }

    #[test]
    fn a_dropped_process_is_gone_and_a_line_is_found() {
        let logs = tempfile::tempdir().unwrap();
        let mut process = shell("echo ready 7; exec sleep 60").start("x", logs.path()).unwrap();
        assert_eq!(process.line_with("ready", Duration::from_secs(5)).unwrap(), "ready 7");
        let pid = process.pid();
        assert!(alive(pid));
        drop(process);
        assert!(!alive(pid));
    }

    #[test]
    fn a_process_that_ends_before_its_line_says_why() {
        let logs = tempfile::tempdir().unwrap();
        let mut process = shell("echo no port >&2; exit 1").start("x", logs.path()).unwrap();
        let error = process.line_with("ready", Duration::from_secs(5)).unwrap_err();
        assert!(format!("{error:#}").contains("no port"), "{error:#}");
    }
}
