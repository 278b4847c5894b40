//! Trust bundles, SPIFFE IDs, and the documents that show one: none makes the program stop, what is read is
//! as it was written, and none counts that its domain has not signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tegata_core::Timestamp;
use tegata_token::{
    ClientCertificate, SpiffeId, SpiffePattern, TrustDomain, TrustDomains,
    spiffe::{Bundle, JwtSvid},
};

/// One domain, with the key of RFC 7517 §A.1, whose private half signs nothing here.
static DOMAINS: LazyLock<TrustDomains> = LazyLock::new(|| {
    let name = TrustDomain::new("example.org").expect("a name");
    let bundle = br#"{"keys":[{"use":"jwt-svid","kty":"EC","crv":"P-256","kid":"k",
        "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;
    let domains = TrustDomains::new([name.clone()]);
    domains.trust(&name, Bundle::read(bundle).expect("a bundle"));
    domains
});

fuzz_target!(|bytes: &[u8]| {
    let now = Timestamp::from_secs(1_767_225_600);
    let _ = Bundle::read(bytes);
    if let Ok(shown) = ClientCertificate::read(&[bytes.into()]) {
        assert!(DOMAINS.certified(&shown, now).is_err());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = JwtSvid::claimed(text);
    assert!(DOMAINS.asserted(text, "https://issuer.example", now).is_err());
    if let Ok(id) = SpiffeId::new(text) {
        assert_eq!(id.as_str(), text);
        assert!(SpiffePattern::new(text).is_ok_and(|pattern| pattern.covers(&id)));
    }
});
