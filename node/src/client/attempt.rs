//! What to do after a server was asked: take the answer, ask the next one, or give up. Pure.
//!
//! A write whose answer got lost may have been done. It is asked again under the same key; only
//! when nobody answers is its outcome unknown.

use super::{Answer, ClientError, ServerAddress, error::ConnectError};

/// What follows from one attempt.
#[derive(Debug)]
pub(super) enum Step {
    /// Take it.
    Answered(Answer),
    /// Another server would say the same.
    Failed(ClientError),
    /// Another server may do better.
    AskNext,
}

/// What the attempts so far came to.
#[derive(Debug)]
pub(super) struct Progress {
    write: bool,
    /// The server and reason of an answer that got lost after the request was sent.
    lost: Option<(ServerAddress, String)>,
    unreachable: Vec<(ServerAddress, ConnectError)>,
    /// The last answer that asked to come again.
    unavailable: Option<ClientError>,
}

impl Progress {
    pub(super) fn new(write: bool) -> Self {
        Self { write, lost: None, unreachable: Vec::new(), unavailable: None }
    }

    pub(super) fn judge(&mut self, result: Result<Answer, ClientError>) -> Step {
        let error = match result {
            Ok(answer) => return Step::Answered(answer),
            Err(error) => error,
        };
        match error {
            ClientError::Connect { server, source } => {
                self.unreachable.retain(|(other, _)| *other != server);
                self.unreachable.push((server, source));
                Step::AskNext
            }
            ClientError::Interrupted { server, reason } => {
                self.lost = Some((server, reason));
                Step::AskNext
            }
            ClientError::Api { status: 504, server, body } => {
                self.lost = Some((server, body.message));
                Step::AskNext
            }
            ClientError::Api { status: 503, .. } => {
                self.unavailable = Some(error);
                Step::AskNext
            }
            // The first attempt may itself be what this one conflicts with.
            ClientError::Api { status: 409, .. } if self.write && self.lost.is_some() => {
                Step::AskNext
            }
            error => Step::Failed(error),
        }
    }

    /// Whether the servers may answer better in a moment: some are up, but not ready.
    pub(super) fn worth_another_round(&self) -> bool {
        self.unavailable.is_some()
    }

    pub(super) fn into_error(self) -> ClientError {
        match (self.lost, self.unavailable) {
            (Some((server, reason)), _) if self.write => {
                ClientError::OutcomeUnknown { server, reason }
            }
            (_, Some(error)) => error,
            (Some((server, reason)), None) => ClientError::Interrupted { server, reason },
            (None, None) => ClientError::Unreachable { servers: self.unreachable },
        }
    }
}

#[cfg(test)]
mod tests {
    use model::api::ErrorResponse;

    use super::*;

    fn server(port: u16) -> ServerAddress {
        ServerAddress { host: "n".to_owned(), port }
    }

    fn refused(port: u16) -> ClientError {
        let source = ConnectError::TimedOut { after: std::time::Duration::from_secs(1) };
        ClientError::Connect { server: server(port), source }
    }

    fn api(status: u16) -> ClientError {
        let body = ErrorResponse { code: "x".to_owned(), message: "x".to_owned(), errors: None };
        ClientError::Api { server: server(1), status, body }
    }

    fn lost() -> ClientError {
        ClientError::Interrupted { server: server(1), reason: "reset".to_owned() }
    }

    /// Feeds failures and returns what the caller is told once the servers are used up.
    fn after(write: bool, failures: Vec<ClientError>) -> ClientError {
        let mut progress = Progress::new(write);
        for failure in failures {
            match progress.judge(Err(failure)) {
                Step::AskNext => {}
                Step::Failed(error) => return error,
                Step::Answered(_) => unreachable!("only failures are fed"),
            }
        }
        progress.into_error()
    }

    #[test]
    fn a_lost_answer_makes_the_outcome_of_a_write_unknown_and_of_a_read_not() {
        assert!(matches!(
            after(true, vec![lost(), refused(2)]),
            ClientError::OutcomeUnknown { .. }
        ));
        assert!(matches!(after(true, vec![lost(), api(503)]), ClientError::OutcomeUnknown { .. }));
        assert!(matches!(after(true, vec![lost(), api(409)]), ClientError::OutcomeUnknown { .. }));
        assert!(matches!(after(true, vec![api(504)]), ClientError::OutcomeUnknown { .. }));
        assert!(matches!(after(false, vec![lost(), refused(2)]), ClientError::Interrupted { .. }));
    }

    #[test]
    fn an_answer_that_every_server_would_give_ends_the_search() {
        assert!(matches!(
            after(true, vec![refused(1), api(409)]),
            ClientError::Api { status: 409, .. }
        ));
        assert!(matches!(after(true, vec![api(422)]), ClientError::Api { status: 422, .. }));
        assert!(matches!(after(false, vec![api(401)]), ClientError::Api { status: 401, .. }));
    }

    #[test]
    fn every_unreachable_server_is_named_once() {
        let error = after(true, vec![refused(1), refused(2), refused(1)]);
        let ClientError::Unreachable { servers } = error else { panic!("{error}") };
        assert_eq!(servers.len(), 2);
    }

    #[test]
    fn only_a_server_that_is_up_is_worth_another_round() {
        let mut progress = Progress::new(true);
        progress.judge(Err(refused(1)));
        assert!(!progress.worth_another_round());
        progress.judge(Err(api(503)));
        assert!(progress.worth_another_round());
    }
}
