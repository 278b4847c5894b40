//! Claims of a token whose signature is good: none makes the program stop, and what is accepted is
//! written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_token::Claims;

fuzz_target!(|json: &[u8]| {
    let Ok(claims) = Claims::parse(json) else { return };
    assert_eq!(Claims::parse(&claims.to_json()).as_ref(), Ok(&claims));
});
