//! Request targets: none makes the program stop, and a normalised path is already in its one form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_mesh::Target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(target) = Target::parse(bytes) else { return };
    let path = target.path().as_str();
    let again = Target::parse(path.as_bytes()).expect("a normalised path is a target");
    assert_eq!(again.path().as_str(), path);
    assert!(path.starts_with('/') && path.is_ascii());
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
});
