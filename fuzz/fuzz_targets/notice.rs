//! What a provider tells its verifiers, whose signature is good: none makes the program stop or take
//! memory for what it does not hold.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tegata_core::{Node, Realm};
use tegata_token::{Notice, StatusBits, View};

static NODE: LazyLock<Node> = LazyLock::new(Node::start);

fuzz_target!(|json: &[u8]| {
    if let Ok(text) = std::str::from_utf8(json) {
        let _ = StatusBits::from_lst(text);
    }
    let Ok(notice) = serde_json::from_slice::<Notice>(json) else { return };
    let view = View::new(NODE.clone());
    let (realm, now) = (Realm::default(), NODE.since_boot());
    if view.take_over(&realm, &notice, now).is_ok() {
        assert_eq!(view.take_over(&realm, &notice, now), Ok(()));
    }
});
