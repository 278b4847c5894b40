//! The documents behind sector identifiers: none makes the program stop, and an address is in a list where it
//! stands in it, character by character.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_oauth::register::check_list;

fuzz_target!(|bytes: &[u8]| {
    // An address, and the document in the lines after it.
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (uri, document) = (String::from_utf8_lossy(part()).into_owned(), part());
    let is_list = check_list(document, &[]).is_ok();
    let listed = check_list(document, std::slice::from_ref(&uri)).is_ok();
    assert!(is_list || !listed);
    if !is_list {
        return;
    }
    let all: Vec<String> = serde_json::from_slice(document).expect("a list");
    assert_eq!(listed, all.contains(&uri));
    assert!(check_list(document, &all).is_ok());
    // What is longer than all of them is none of them.
    let longest = all.iter().max_by_key(|it| it.len()).cloned().unwrap_or_default();
    assert!(check_list(document, &[all, vec![format!("{longest}/")]].concat()).is_err());
});
