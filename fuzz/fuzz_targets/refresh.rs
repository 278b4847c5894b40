//! Refresh tokens: none makes the program stop, there is one spelling of what is read from them, and
//! nothing secret is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_token::refresh::Presented;

fuzz_target!(|text: &str| {
    let Ok(presented) = Presented::parse(text) else { return };
    let (family, generation) = (&presented.family, presented.generation);
    let (root, mac) = text.split_once(&format!(".{family}.{generation}.")).expect("its parts");
    assert!(root.starts_with("rt_") && !mac.contains('.'));
    let printed = format!("{presented:?}");
    assert_eq!(printed, format!("Presented({family}, generation {generation})"));
});
