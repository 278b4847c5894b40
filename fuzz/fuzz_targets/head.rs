//! The watch over the framing of HTTP/1: no bytes make the program stop, and however they are cut, the
//! same requests pass.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_gateway::guard::Guard;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = (usize::from(input.0).max(1), input.1);
    let mut whole = Guard::new();
    let passes = whole.feed(bytes).is_ok();
    let mut cut = Guard::new();
    let refused = bytes.chunks(piece).any(|piece| cut.feed(piece).is_err());
    assert_eq!((!refused, cut.heads()), (passes, whole.heads()));
});
