//! The connections that are open, to be shut when the server ends: tonic serves each in a task of its own,
//! which would outlive the server, and Envoy would go on asking there.

use std::{
    collections::HashMap,
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, PoisonError},
};

/// All open connections, by number. An Envoy has some for each of its workers.
#[derive(Debug, Default)]
pub(super) struct Open {
    all: Arc<Mutex<HashMap<u64, OwnedFd>>>,
    accepted: u64,
}

/// Notes a connection for as long as it lasts.
#[derive(Debug)]
pub(super) struct Noted {
    all: Arc<Mutex<HashMap<u64, OwnedFd>>>,
    number: u64,
}

impl Open {
    /// Notes a connection; returns its number, too.
    pub(super) fn note(&mut self, connection: &impl AsFd) -> (u64, Noted) {
        self.accepted += 1;
        let number = self.accepted;
        match connection.as_fd().try_clone_to_owned() {
            Ok(copy) => {
                self.all.lock().unwrap_or_else(PoisonError::into_inner).insert(number, copy);
            }
            Err(error) => tracing::warn!(%error, "a connection cannot be shut with the server"),
        }
        (number, Noted { all: Arc::clone(&self.all), number })
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, connection) in all.drain() {
            // One that the peer has closed is shut already.
            let _ = UnixStream::from(connection).shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn all_that_are_open_are_shut_and_those_that_ended_are_not_kept() {
        let mut open = Open::default();
        let pairs: Vec<_> = (0..40).map(|_| UnixStream::pair().unwrap()).collect();
        let mut noted: Vec<_> = pairs.iter().map(|(own, _)| open.note(own).1).collect();
        noted.truncate(30);
        assert_eq!(open.all.lock().unwrap().len(), 30);
        drop(open);
        for (index, (_own, mut peer)) in pairs.into_iter().enumerate() {
            peer.set_nonblocking(true).unwrap();
            let shut = matches!(peer.read(&mut [0]), Ok(0));
            assert_eq!(shut, index < 30, "{index}");
        }
    }
}
