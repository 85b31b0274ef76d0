//! The exit status, and the failures that it is told from.

use std::{fmt, io, path::PathBuf, process::ExitCode};

use model::Revision;

use super::modules::ModuleFileError;
use crate::client::{ClientError, ContextError};

/// The API's code for a write that expected another revision; other answers of status 409 refuse
/// what would harm the cluster.
const CONFLICT: &str = "conflict";

/// What the exit status says. Documented in `docs/cli.md`; numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it was done.
    Done,
    /// 1: it failed; nothing was changed, unless the message says otherwise.
    Failed,
    /// 2: the command line is wrong.
    Usage,
    /// 3: the revision was written, and an engine refused a part of it.
    Refused,
    /// 4: the configuration is at another revision than expected.
    Conflict,
    /// 5: it is not known whether the change was made.
    Unknown,
}

impl Exit {
    /// Returns the number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Conflict => 4,
            Self::Unknown => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The API could not be asked, or said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no usable context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A file that was named cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file, directory or `-`.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A module that a document names, or that was given, is not taken.
    #[error(transparent)]
    Module(#[from] ModuleFileError),
    /// The arguments do not go together.
    #[error("{reason}")]
    Usage {
        /// What is wrong with them.
        reason: String,
    },
    /// Engines refused parts of the revision; what they run stays in place.
    #[error("revision {revision} is written, but not all of it runs:\n{report}")]
    Refused {
        /// The revision.
        revision: Revision,
        /// A line for each refusal.
        report: String,
    },
    /// Engines did not answer in time.
    #[error("revision {revision} is written, but not answered for in time:\n{missing}")]
    Unanswered {
        /// The revision.
        revision: Revision,
        /// A line for each engine that has not answered.
        missing: String,
    },
    /// A process of the node failed.
    #[error("{what}")]
    Process {
        /// What it was doing.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The doctor found something that does not work; all of it is printed already.
    #[error("problems found: {problems}")]
    Found {
        /// How many.
        problems: usize,
    },
    /// The standard output is gone.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
}

impl Failure {
    /// Returns the exit status that goes with it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Refused { .. } => Exit::Refused,
            Self::Client(ClientError::Api { body, .. }) if body.code == CONFLICT => Exit::Conflict,
            Self::Client(ClientError::OutcomeUnknown { .. }) => Exit::Unknown,
            _ => Exit::Failed,
        }
    }

    /// Wraps the failure of a long-running process.
    pub fn process(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Process { what, source: source.into() }
    }
}

/// An error with its causes on one line each, no sentence twice.
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Transparent errors, and those that quote their cause, would say it again.
            if !last.contains(&text) {
                write!(f, "\n  because: {text}")?;
                last = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::api::ErrorResponse;

    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_exit_status() {
        let server: crate::client::ServerAddress = "10.0.0.1".parse().unwrap();
        let api = |status, code: &str| {
            let body = ErrorResponse { code: code.into(), message: String::new(), errors: None };
            Failure::Client(ClientError::Api { server: server.clone(), status, body })
        };
        let unknown = ClientError::OutcomeUnknown { server: server.clone(), reason: String::new() };
        let check =
            |failure: Failure, code: u8| assert_eq!(failure.exit().code(), code, "{failure}");
        check(api(409, "conflict"), 4);
        check(api(409, "unsafe"), 1);
        check(api(422, "invalid"), 1);
        check(api(403, "forbidden"), 1);
        check(Failure::Client(unknown), 5);
        check(Failure::Usage { reason: String::new() }, 2);
        check(Failure::Refused { revision: Revision(1), report: String::new() }, 3);
        check(Failure::Found { problems: 2 }, 1);
        check(Failure::Unanswered { revision: Revision(1), missing: String::new() }, 1);
    }

    #[test]
    fn a_chain_says_everything_once() {
        let source = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let failure = Failure::Read { path: "x.yaml".into(), source };
        assert_eq!(Chain(&failure).to_string(), "cannot read x.yaml\n  because: no such file");
    }
}
