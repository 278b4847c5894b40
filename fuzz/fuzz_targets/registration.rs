//! What clients say of themselves when they register: nothing makes the program stop; nobody gets what is not
//! offered, or what operators alone give; and what was taken, said once more, is taken as the same.
#![no_main]

use std::{collections::BTreeSet, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tegata_core::Timestamp;
use tegata_oauth::{
    AuthMethod, ClientMetadata, GrantType,
    register::{By, Offered, RegisterRefused},
};
use tegata_token::{Algorithm, Scope};

static OFFERED: LazyLock<Offered> = LazyLock::new(|| Offered {
    auth_methods: AuthMethod::ALL
        .into_iter()
        .filter(|it| *it != AuthMethod::TlsClientAuth)
        .collect(),
    algorithms: vec![Algorithm::Es256, Algorithm::Rs256],
    scope: Scope::new("openid email orders.read").expect("a scope"),
});

/// What only people give.
const OF_PEOPLE: [GrantType; 3] =
    [GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::DeviceCode];

fuzz_target!(|text: &str| {
    let Ok(said) = serde_json::from_str::<Map<String, Value>>(text) else { return };
    let by_itself = read(&said, By::Itself);
    let trusted = read(&said, By::Trusted);
    // Whoever is trusted gets no less, and otherwise the same.
    match (by_itself, trusted) {
        (Some(by_itself), trusted) => {
            assert!(by_itself.grant_types.iter().flatten().all(|it| OF_PEOPLE.contains(it)));
            assert_eq!(Some(by_itself), trusted);
        }
        (None, Some(trusted)) => {
            let grants = trusted.grant_types.unwrap_or_default();
            assert!(grants.iter().any(|it| !OF_PEOPLE.contains(it)));
        }
        (None, None) => {}
    }
});

fn read(said: &Map<String, Value>, by: By) -> Option<ClientMetadata> {
    let metadata = match OFFERED.read(said, "dyn_1", by) {
        Ok(metadata) => metadata,
        Err(RegisterRefused::Invalid { code, why }) => {
            assert!(["invalid_client_metadata", "invalid_redirect_uri"].contains(&code));
            assert!(why.len() <= 4096, "{} bytes are answered", why.len());
            return None;
        }
        Err(other) => panic!("nothing but what is said was looked at: {other:?}"),
    };
    is_bounded(&metadata);
    if let Ok(client) = metadata.read(Timestamp::default()) {
        assert!(client.require_pkce || !client.is_public());
    }
    // Of a sector it is said elsewhere, by a document.
    if metadata.sector_identifier_uri.is_none() {
        let mut again = serde_json::to_value(&metadata).expect("JSON");
        let again = again.as_object_mut().expect("an object");
        again.retain(|_, value| !value.is_null());
        assert_eq!(OFFERED.read(again, "dyn_1", by).as_ref(), Ok(&metadata));
    }
    Some(metadata)
}

/// It asks for nothing that is not offered, and has nothing that operators alone give.
fn is_bounded(metadata: &ClientMetadata) {
    assert_eq!(metadata.client_id, "dyn_1");
    assert!(
        metadata.token_endpoint_auth_method.is_some_and(|it| OFFERED.auth_methods.contains(&it))
    );
    assert!(metadata.scope.split(' ').all(|it| it.is_empty() || OFFERED.scope.contains(it)));
    for algorithm in [
        metadata.access_token_signed_response_alg,
        metadata.id_token_signed_response_alg,
        metadata.authorization_signed_response_alg,
        metadata.introspection_signed_response_alg,
        metadata.userinfo_signed_response_alg,
    ] {
        assert!(algorithm.is_none_or(|it| OFFERED.algorithms.contains(&it)));
    }
    assert_eq!(metadata.asks_consent, Some(true));
    assert!(
        metadata.audiences.is_empty() && metadata.may_act.is_none() && !metadata.may_introspect
    );
    assert!(metadata.profile.is_none() && metadata.sector.is_none() && !metadata.disabled);
    assert_eq!(metadata.authorization_details_types, BTreeSet::new());
    for uris in [&metadata.redirect_uris, &metadata.post_logout_redirect_uris] {
        assert!(uris.len() <= 20 && uris.iter().all(|uri| uri.len() <= 2048));
    }
    let keys = metadata.jwks.as_ref().map(|set| serde_json::to_value(&set.keys).expect("JSON"));
    let keys = keys.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    assert!(keys.len() <= 20);
    assert!(keys.iter().all(|key| key.get("d").is_none() && key.get("k").is_none()));
}
