//! What is kept, what wins, and that damage is told.

use super::*;

fn flags(data_dir: &Path) -> Flags {
    Flags {
        data_dir: Some(data_dir.to_owned()),
        address: Some("127.0.0.11".parse().unwrap()),
        ..Flags::default()
    }
}

#[test]
fn a_restart_needs_no_flags_but_the_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = Settings::resolve(Flags {
        api_port: Some(17800),
        wan: true,
        worker_priority: Some(Priority::Usual),
        ..flags(dir.path())
    })
    .unwrap();
    first.save().unwrap();
    let again =
        Settings::resolve(Flags { data_dir: Some(dir.path().into()), ..Flags::default() }).unwrap();
    assert_eq!(again, first);
}

#[test]
fn a_given_flag_wins_over_the_kept_value() {
    let dir = tempfile::tempdir().unwrap();
    Settings::resolve(flags(dir.path())).unwrap().save().unwrap();
    let changed = Settings::resolve(Flags {
        data_dir: Some(dir.path().into()),
        push_port: Some(17802),
        ..Flags::default()
    })
    .unwrap();
    assert_eq!((changed.push_port, changed.api_port), (17802, API_PORT));
    assert_eq!(changed.address, "127.0.0.11".parse::<IpAddr>().unwrap());
}

#[test]
fn damage_is_told_and_nothing_is_guessed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), b"{\"runDir\":").unwrap();
    let error = Settings::resolve(flags(dir.path())).unwrap_err();
    assert!(matches!(error, SettingsError::Damaged { .. }), "{error}");
}

#[test]
fn a_changed_byte_is_never_taken_for_a_wish() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::resolve(flags(dir.path())).unwrap();
    settings.save().unwrap();
    let path = dir.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        // White space between values means nothing; all else is refused.
        if let Ok(Some(read)) = Settings::load(dir.path()) {
            assert_eq!(read, settings, "byte {at}");
        }
    }
}

#[test]
fn values_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let any = Flags { address: Some("0.0.0.0".parse().unwrap()), ..flags(dir.path()) };
    assert!(matches!(Settings::resolve(any), Err(SettingsError::Address { .. })));
    let same = Flags { api_port: Some(7801), ..flags(dir.path()) };
    assert!(matches!(Settings::resolve(same), Err(SettingsError::Ports { port: 7801 })));
}
