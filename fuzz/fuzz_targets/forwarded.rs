//! What proxies say of a request: whatever a client wrote before it, what a trusted proxy adds is read
//! as it stands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tegata_core::{ForwardedBy, Network, Proxies};

fuzz_target!(|line: &[u8]| {
    let trusted: Network = "10.0.0.0/8".parse().expect("a network");
    let proxy = [10, 0, 0, 1].into();
    for (forwarded_by, added) in [
        (ForwardedBy::XForwardedFor, &b"198.51.100.7"[..]),
        (ForwardedBy::Forwarded, br#"for=198.51.100.7;proto=https;host="a,b\",c""#),
    ] {
        let proxies = Proxies { trusted: vec![trusted], forwarded_by };
        // Nobody is kept from writing what they like.
        let _ = proxies.say(proxy, [line].into_iter());
        let line = [line, b", ", added].concat();
        let said = proxies.say(proxy, [&line[..]].into_iter());
        assert_eq!(said.client.to_string(), "198.51.100.7");
        let host = (forwarded_by == ForwardedBy::Forwarded).then_some("a,b\",c");
        assert_eq!(said.host.as_deref(), host);
    }
});
