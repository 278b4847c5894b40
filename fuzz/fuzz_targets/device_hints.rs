//! What a browser says of itself, in three lines: none makes the program stop, hints say the same in any
//! order and nothing where they stand twice, and languages are the same in any case.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_session::{Said, Traits};

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (language, codings, hints) = (line(), line(), line());
    let traits = |language: &[u8], hints: &[&[u8]]| {
        Traits::of(&Said { language: &[language], codings: &[codings], hints, range: false })
    };
    let said = traits(language, &[hints]);
    assert!(said == traits(&language.to_ascii_uppercase(), &[hints]));
    let mut pairs: Vec<&[u8]> = hints.split(|byte| *byte == b',').collect();
    pairs.reverse();
    assert!(said == traits(language, &[&pairs.join(&b',')]));
    assert!(traits(language, &[hints, hints]) == traits(language, &[]));
});
