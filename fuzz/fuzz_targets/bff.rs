//! What is told of a service's JSON: nothing makes the program stop, and what is told is JSON, no larger than what
//! came, of which a reader that takes all of it takes the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tegata_gateway::bff::trim::{Unfit, trim};
use tegata_mesh::bff::{Chosen, Template};

fuzz_target!(|document: &[u8]| {
    let names = ["id", "a.b", "list.n"].map(str::to_owned);
    let Ok(chosen) = Chosen::of(&names) else { return };
    let mut told = Vec::new();
    let whole = serde_json::from_slice::<Value>(document);
    match trim(document, &chosen, &mut told) {
        Ok(()) => {
            assert!(told.len() <= document.len());
            let (whole, told) = (whole.unwrap(), serde_json::from_slice::<Value>(&told).unwrap());
            if whole.is_object() {
                assert_eq!(told.get("id"), whole.get("id"));
            }
        }
        Err(Unfit::Malformed) => assert!(whole.is_err()),
        Err(Unfit::TooDeep | Unfit::Ambiguous | Unfit::NoMembers) => {}
    }
    // A declared path is what it says, or is refused.
    if let Ok(text) = std::str::from_utf8(document)
        && let Ok(template) = Template::parse(text)
    {
        assert_eq!(template.to_string(), text);
    }
});
