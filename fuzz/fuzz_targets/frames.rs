//! The watch over the frames of HTTP/2: no bytes make the program stop, and however they are cut, the same
//! connections are ended, and the same targets are known to have been cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_gateway::guard::frames::Frames;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = (usize::from(input.0).max(1), input.1);
    let mut whole = Frames::new(0);
    let passes = whole.feed(bytes, 0);
    let mut cut = Frames::new(0);
    let answer = bytes.chunks(piece).try_for_each(|piece| cut.feed(piece, 0));
    assert_eq!(answer, passes);
    if answer.is_ok() {
        assert_eq!(cut.is_in_head(), whole.is_in_head());
        assert_eq!((cut.last_stream(), cut.has_cut()), (whole.last_stream(), whole.has_cut()));
    }
});
