//! Addresses that identify a protected resource: none makes the program stop, and none that is taken leaves
//! the quoted string of a challenge, or leads elsewhere.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_token::ProtectedResource;

fuzz_target!(|text: &str| {
    let Ok(resource) = ProtectedResource::new(text, Vec::new()) else { return };
    assert!(text.starts_with("https://") || text.starts_with("http://"), "{text}");
    assert!(!text.contains(['"', '\\', '?', '#', '@', ' ', '\r', '\n']), "{text}");
    assert!(resource.path().starts_with("/.well-known/oauth-protected-resource"), "{text}");
});
