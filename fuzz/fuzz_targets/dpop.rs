//! DPoP proofs and the addresses that they name: none makes the program stop, none that counts is any
//! other kind of token, and what is in normal form stays as it is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tegata_core::Timestamp;
use tegata_token::{
    DpopProof, Proving, TargetUri,
    dpop::is_thumbprint,
    jws::Compact,
};

/// Where the proof of RFC 9449 §5 was sent, which is among the seeds.
static TARGET: LazyLock<TargetUri> =
    LazyLock::new(|| TargetUri::parse("https://server.example.com/token").expect("an address"));

fuzz_target!(|text: &str| {
    let now = Timestamp::from_secs(1_562_262_616);
    let targets = std::slice::from_ref(&*TARGET);
    let request = Proving { method: "POST", targets, access_token: None };
    if let Ok(proof) = DpopProof::verify(text, &request, now) {
        assert!(is_thumbprint(proof.jkt()));
        assert!(Compact::parse(text).is_err());
    }
    if let Some(address) = TargetUri::parse(text) {
        assert_eq!(TargetUri::parse(address.as_str()).as_ref(), Some(&address));
    }
});
