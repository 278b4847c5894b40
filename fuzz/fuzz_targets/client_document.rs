//! Documents by which clients describe themselves: none makes the program stop; what is taken is true of one
//! address, shows itself to people as it is, has nobody else asked, and gets nothing but what people allow.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tegata_core::ClientId;
use tegata_oauth::{
    AuthMethod, GrantType, NotDescribed,
    described::{self, Address, Rules},
    register::Offered,
};
use tegata_token::{Algorithm, Scope};

static OFFERED: LazyLock<Offered> = LazyLock::new(|| Offered {
    auth_methods: AuthMethod::ALL.to_vec(),
    algorithms: vec![Algorithm::Es256, Algorithm::Rs256],
    scope: Scope::new("openid email orders.read").expect("a scope"),
});

fn address(text: &str) -> Address {
    Address::read(&ClientId::new(text).expect("an id"), &Rules::default()).expect("an address")
}

static OWN: LazyLock<Address> = LazyLock::new(|| address("https://app.example/client.json"));
static OTHER: LazyLock<Address> = LazyLock::new(|| address("https://app.example/client.json?"));

fuzz_target!(|body: &[u8]| {
    assert!(described::read(&OTHER, body, &OFFERED).is_err() || !is_taken(body));
    if !is_taken(body) {
        return;
    }
    let metadata = described::read(&OWN, body, &OFFERED).expect("taken a moment ago");
    assert_eq!(metadata.client_id, OWN.id().as_str());
    let auth = metadata.token_endpoint_auth_method.expect("a method");
    assert!([AuthMethod::None, AuthMethod::PrivateKeyJwt].contains(&auth));
    assert_eq!(metadata.public, auth == AuthMethod::None);
    let grants = metadata.grant_types.expect("grants");
    assert!(grants.contains(&GrantType::AuthorizationCode));
    assert!(
        grants
            .iter()
            .all(|it| [GrantType::AuthorizationCode, GrantType::RefreshToken].contains(it))
    );
    let name = metadata.client_name.expect("a name");
    // Nothing that is not seen, or turns the words around it about.
    let unseen =
        |c: char| c.is_control() || ('\u{200b}'..='\u{200f}').contains(&c) || is_turning(c);
    assert!(name.chars().count() <= 100 && !name.contains(unseen), "{name:?}");
    assert_eq!((metadata.require_pkce, metadata.asks_consent), (Some(true), Some(true)));
    assert!(metadata.logo_uri.is_none() && metadata.backchannel_logout_uri.is_none());
    assert!(metadata.sector_identifier_uri.is_none());
    assert!(metadata.subject_type.is_none_or(|it| it.name() == "public"));
    if let Some(keys) = metadata.jwks_uri {
        let rest = keys.split_once(':').map(|(_, rest)| rest).unwrap_or_default();
        assert!(rest.to_ascii_lowercase().contains("app.example"), "{keys}");
    }
});

fn is_taken(body: &[u8]) -> bool {
    match described::read(&OWN, body, &OFFERED) {
        Ok(_) => true,
        Err(NotDescribed::Invalid(why)) => {
            assert!(why.len() <= 4096, "{} bytes are told", why.len());
            false
        }
        Err(other) => panic!("nothing but the document was looked at: {other:?}"),
    }
}

fn is_turning(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
