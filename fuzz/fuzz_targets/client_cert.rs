//! Certificates that proxies tell of, and the names that clients register: none makes the program stop,
//! and what was read is told as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_token::{
    ClientCertificate, SubjectName,
    certificate::{DistinguishedName, header},
};

fuzz_target!(|bytes: &[u8]| {
    // The certificate alone, as it stands in a handshake.
    if let Ok(shown) = ClientCertificate::read(&[bytes.into()]) {
        let (own, _) = header::told(&shown);
        let again = header::shown([own.as_bytes()].into_iter(), [].into_iter());
        assert_eq!(again, Ok(Some(shown.clone())));
        for name in [SubjectName::Dns, SubjectName::Uri, SubjectName::Email] {
            let _ = shown.is_of(&name(String::new()));
        }
    }
    // Both headers, with a line break between them.
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let own = lines.next().into_iter();
    let _ = header::shown(own, lines);
    if let Some(name) = std::str::from_utf8(bytes).ok().and_then(|it| DistinguishedName::parse(it).ok()) {
        assert!(name.is_same_as(&name));
    }
});
