//! Addresses of services: none makes the program stop, and what is accepted is written as it is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_mesh::Upstream;

fuzz_target!(|text: &str| {
    let Ok(upstream) = text.parse::<Upstream>() else { return };
    let written = upstream.to_string();
    assert_eq!(written.parse::<Upstream>().expect("what was written is read"), upstream);
});
