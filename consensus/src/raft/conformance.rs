//! openraft's own suite on the real log, snapshots and store.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::watch;

use super::Types;
use super::log_storage::LogStorage;
use super::recovery::recover;
use super::state_machine::StateMachine;
use crate::disk::RealDisk;
use crate::failure::Failure;
use crate::snap::Snapshots;
use crate::store::Store;
use crate::wal::Wal;
use crate::wal::log::WalOptions;

struct Builder;

impl StoreBuilder<Types, LogStorage, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStorage, StateMachine), StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let wal = Wal::open(WalOptions {
            disk: Arc::new(RealDisk),
            folder: folder.path().join("wal"),
            cluster: "c".to_owned(),
            node: 0,
            segment_bytes: 64 * 1024,
            failure: Failure::default(),
        })
        .unwrap();
        let snapshots = Snapshots {
            disk: Arc::new(RealDisk),
            folder: folder.path().join("snap"),
            cluster: "c".to_owned(),
        };
        let path = folder.path().join("store");
        let (replica, store) = recover(&wal, &snapshots, &path, "c").unwrap();
        let store = Store::start(path, "c".to_owned(), store.unwrap()).unwrap();
        let published = watch::Sender::new(replica.state.publish());
        let machine = StateMachine { replica, store: Some(store), snapshots, published };
        Ok((folder, LogStorage(wal), machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_log_store_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

#[test]
fn a_command_of_version_1_is_read_and_written_as_in_the_fixture() {
    use crate::ids::Revision;
    use crate::transaction::{Compare, Op, RequestId, Transaction};
    let transaction = Transaction {
        request: RequestId(0x0123_4567_89ab_cdef),
        actor: "actor".to_owned(),
        message: "message".to_owned(),
        compare: vec![
            Compare::KeyRevision { key: "a".to_owned(), revision: Some(Revision(4)) },
            Compare::KeyRevision { key: "b".to_owned(), revision: None },
            Compare::PrefixAtMost { prefix: "c/".to_owned(), revision: Revision(5) },
        ],
        ops: vec![
            Op::Put { key: "a".to_owned(), value: "value".into() },
            Op::Put { key: "empty".to_owned(), value: bytes::Bytes::new() },
            Op::Delete { key: "d".to_owned() },
        ],
    };
    let message = super::command::message(transaction.clone());
    let command = super::Command::stamp(message, 1_700_000_000_000);
    crate::fixture::check("command-v1.bin", &command.0);
    let fixture = super::Command(crate::fixture::read("command-v1.bin").into());
    assert_eq!(fixture.decode(), Ok((1_700_000_000_000, transaction)));
}

#[test]
fn a_command_of_an_unknown_version_is_never_applied() {
    let mut message = super::command::message(crate::Transaction::new("a", "m", vec![]));
    message.version = 2;
    let error = super::Command::stamp(message, 1).decode().unwrap_err();
    assert_eq!(error, super::command::InvalidCommand::Version { found: 2 });
}
