//! Whose the data directory is.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use crate::{Place, said};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn nobody_else_can_lock_the_data_or_look_into_its_directory() {
    let place = Place::new();
    assert!(place.run(&["init", "here"]).status.success());
    assert_eq!(mode(&place.path().join("here")), 0o700);
    place.add_user("alice");
    let lock = place.path().join("tegata.lock");
    assert_eq!(mode(&lock), 0o600);
    // One that an earlier release made is closed too.
    fs::set_permissions(&lock, Permissions::from_mode(0o644)).unwrap();
    place.json(&["user", "list"]);
    assert_eq!(mode(&lock), 0o600);
}

#[test]
fn a_mistyped_directory_is_said_to_be_none_and_stays_none() {
    let place = Place::new();
    for command in [&["user", "list"][..], &["doctor"], &["key", "list"]] {
        let output = place.run(&[command, &["--data-dir", "typo"]].concat());
        assert!(!output.status.success(), "{command:?}");
        assert!(!place.path().join("typo").exists(), "{command:?}: {}", said(&output));
    }
    assert!(place.refused(&["user", "list", "--data-dir", "typo"], 2).contains("typo"));
    fs::create_dir(place.path().join("empty")).unwrap();
    place.refused(&["user", "list", "--data-dir", "empty"], 2);
    assert_eq!(fs::read_dir(place.path().join("empty")).unwrap().count(), 0);
}
