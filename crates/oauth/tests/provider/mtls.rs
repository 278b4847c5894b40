//! Certificates that clients show: what their tokens are bound to, and for how long.

use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};
use serde_json::json;
use tegata_oauth::{
    AuthMethod, Client, ClientMetadata, Config, Credential, GrantType, MutualTls, NotHolder,
    Proven, Provider, Refused, Showing, TokenAnswer,
    signals::access::{Need, NoAccess, READ},
};
use tegata_token::{Algorithm, ClientCertificate, SigningKey, dpop};

use super::world::{
    CALLBACK, VERIFIER, World, asked, claims, client_key, error, params, place, query,
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A certificate that nobody else has signed.
fn certificate(change: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "client");
    change(&mut params);
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    ClientCertificate::read(&[made.der().clone()]).unwrap()
}

pub(crate) fn any() -> ClientCertificate {
    certificate(|_| {})
}

fn showing(shown: &ClientCertificate) -> Proven<'_> {
    Proven { key: None, certificate: Some(shown) }
}

async fn ask(
    world: &World,
    client: &Client,
    pairs: &[(&str, &str)],
    proven: Proven<'_>,
) -> Result<TokenAnswer, Refused> {
    world.provider.token(&world.proven(client).await, &params(pairs), &place(), proven).await
}

async fn redeem(
    world: &World,
    client: &Client,
    proven: Proven<'_>,
) -> Result<TokenAnswer, Refused> {
    let code = world.code(&[("client_id", client.id.as_str())]).await;
    let pairs = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    ask(world, client, &pairs, proven).await
}

async fn refresh(
    world: &World,
    client: &Client,
    token: &str,
    proven: Proven<'_>,
) -> Result<TokenAnswer, Refused> {
    ask(world, client, &[("grant_type", "refresh_token"), ("refresh_token", token)], proven).await
}

fn token_of(answer: &TokenAnswer) -> &str {
    answer.refresh_token.as_deref().unwrap()
}

const BOTH: [GrantType; 2] = [GrantType::AuthorizationCode, GrantType::RefreshToken];

#[tokio::test]
async fn what_nothing_vouches_for_but_its_token_has_one_certificate_for_good_and_others_renew_theirs()
 {
    let world = World::new().await;
    for is_public in [true, false] {
        let id = if is_public { "wallet" } else { "desktop" };
        let client = world
            .client(id, &BOTH, |it| {
                it.public = is_public;
                it.tls_client_certificate_bound_access_tokens = true;
            })
            .await;
        let (own, other) = (any(), any());
        let first = redeem(&world, &client, showing(&own)).await.unwrap();
        assert_eq!(first.token_type, "Bearer");
        let cnf = json!({"x5t#S256": own.thumbprint()});
        assert_eq!(claims(&first.access_token)["cnf"], cnf);
        let refused = refresh(&world, &client, token_of(&first), Proven::default()).await;
        assert_eq!(error(refused.unwrap_err()), "invalid_request");
        if is_public {
            // Whoever took the refresh token has another certificate.
            let refused = refresh(&world, &client, token_of(&first), showing(&other)).await;
            assert_eq!(error(refused.unwrap_err()), "invalid_grant");
        }
        // The sign-in lives on for its holder.
        let next = refresh(&world, &client, token_of(&first), showing(&own)).await.unwrap();
        assert_eq!(claims(&next.access_token)["cnf"], cnf);
        if !is_public {
            // It has proven itself besides, and its certificate may have been renewed.
            let next = refresh(&world, &client, token_of(&next), showing(&other)).await.unwrap();
            let cnf = json!({"x5t#S256": other.thumbprint()});
            assert_eq!(claims(&next.access_token)["cnf"], cnf);
        }
        // Nor is a token bound that shows no certificate, or one that has expired.
        let expired = certificate(|it| it.not_after = date_time_ymd(2001, 1, 1));
        for proven in [Proven::default(), showing(&expired)] {
            let refused = redeem(&world, &client, proven).await.unwrap_err();
            assert_eq!(error(refused), "invalid_request");
        }
    }
}

#[tokio::test]
async fn a_client_that_proves_itself_by_certificates_may_renew_them_but_not_go_without() {
    let world = World::new().await;
    let client = world
        .client("machine", &BOTH, |it| it.tls_client_auth_san_dns = Some("a.example".into()))
        .await;
    let (own, renewed) = (any(), any());
    let first = redeem(&world, &client, showing(&own)).await.unwrap();
    let next = refresh(&world, &client, token_of(&first), showing(&renewed)).await.unwrap();
    assert_eq!(claims(&next.access_token)["cnf"], json!({"x5t#S256": renewed.thumbprint()}));
    // It is no longer the one of before that tokens are bound to.
    let refused = refresh(&world, &client, token_of(&next), Proven::default()).await.unwrap_err();
    assert_eq!(error(refused), "invalid_grant");
}

/// Whoever steals a token that is bound has no use of it, so it may live for longer; then it is listed.
#[tokio::test]
async fn a_token_for_one_service_lives_longer_where_it_is_bound_to_a_certificate() {
    let world = World::new().await;
    for (id, target, binds, life) in
        [("machine", "orders", true, 300), ("batch", "payments", false, 60)]
    {
        let client = world
            .client(id, &[GrantType::ClientCredentials], |it| {
                it.tls_client_certificate_bound_access_tokens = binds;
            })
            .await;
        let pairs = [("grant_type", "client_credentials"), ("audience", target)];
        let answer = ask(&world, &client, &pairs, showing(&any())).await.unwrap();
        let said = claims(&answer.access_token);
        assert_eq!((answer.expires_in, said["aud"].as_str()), (life, Some(target)), "{id}");
        assert_eq!((said.get("cnf").is_some(), said.get("status").is_some()), (binds, binds));
    }
}

#[tokio::test]
async fn certificates_bind_nothing_of_clients_that_do_not_ask_for_it() {
    let world = World::new().await;
    let web = world.web().await;
    let answer = redeem(&world, &web, showing(&any())).await.unwrap();
    assert!(claims(&answer.access_token).get("cnf").is_none());
    refresh(&world, &web, token_of(&answer), showing(&any())).await.unwrap();
}

#[tokio::test]
async fn who_proves_themselves_is_looked_at_anew_each_time() {
    let world = World::new().await;
    let authority = KeyPair::generate().unwrap();
    let mut of_authority = CertificateParams::default();
    of_authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(of_authority, authority).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params_of = CertificateParams::default();
    params_of.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())];
    let made = params_of.signed_by(&key, &authority).unwrap();
    let shown = ClientCertificate::read(&[made.der().clone()]).unwrap();
    world
        .client("machine", &BOTH, |it| it.tls_client_auth_san_dns = Some("a.example".into()))
        .await;
    let named = params(&[("client_id", "machine")]);
    let authenticate =
        async || world.provider.authenticate(None, &named, Some(&shown), "/oauth2/token").await;
    assert_eq!(error(authenticate().await.unwrap_err()), "invalid_client");
    world.parts.authorities.trust(authority.pem().as_bytes()).unwrap();
    assert!(authenticate().await.is_ok());
    // Who is trusted can change while everything runs.
    let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    world.parts.authorities.trust(other.cert.pem().as_bytes()).unwrap();
    assert_eq!(error(authenticate().await.unwrap_err()), "invalid_client");
    assert!(world.parts.authorities.trust(b"nothing").is_err());
}

#[tokio::test]
async fn exchange_keeps_tokens_bound_to_the_certificate_of_who_exchanges() {
    let world = World::new().await;
    let wallet = world
        .client("wallet", &BOTH, |it| {
            it.public = true;
            it.tls_client_certificate_bound_access_tokens = true;
        })
        .await;
    let own = any();
    let subject = redeem(&world, &wallet, showing(&own)).await.unwrap().access_token;
    let of_service = async |is_bound| {
        let bind = |it: &mut ClientMetadata| {
            it.tls_client_certificate_bound_access_tokens = is_bound;
        };
        world.client("orders", &[GrantType::TokenExchange], bind).await
    };
    let bound = of_service(true).await;
    let pairs = [
        ("grant_type", EXCHANGE),
        ("subject_token", subject.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("audience", "payments"),
    ];
    // Whoever holds another certificate may have stolen it.
    let refused = ask(&world, &bound, &pairs, showing(&any())).await.unwrap_err();
    assert_eq!(error(refused), "invalid_request");
    let made = ask(&world, &bound, &pairs, showing(&own)).await.unwrap();
    assert_eq!(claims(&made.access_token)["cnf"], json!({"x5t#S256": own.thumbprint()}));
    let free = of_service(false).await;
    let refused = ask(&world, &free, &pairs, showing(&own)).await.unwrap_err();
    assert_eq!(error(refused), "invalid_request");
}

#[tokio::test]
async fn a_client_of_fapi_may_be_bound_by_its_certificate_in_place_of_a_key() {
    let world = World::new().await;
    let bank = world
        .client("bank", &BOTH, |it| {
            it.profile = serde_json::from_value(json!("fapi2")).unwrap();
            it.tls_client_auth_san_uri = Some("spiffe://example/bank".into());
        })
        .await;
    assert_eq!(bank.auth, AuthMethod::TlsClientAuth);
    let code = async || {
        let pushed = asked(&[("client_id", "bank")]);
        let uri = world.provider.push(&bank, &pushed).await.unwrap().request_uri;
        let of = params(&[("client_id", "bank"), ("request_uri", &uri)]);
        let (request, _) = world.provider.authorization_request(&of).await.unwrap();
        let redirect = world.grant(&request, &world.signed_in()).await;
        query(redirect.address(), "code")
    };
    let redeem = async |proven: Proven<'_>| {
        let code = code().await;
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        ask(&world, &bank, &pairs, proven).await
    };
    let shown = any();
    let answer = redeem(showing(&shown)).await.unwrap();
    assert_eq!(claims(&answer.access_token)["cnf"], json!({"x5t#S256": shown.thumbprint()}));
    assert_eq!(error(redeem(Proven::default()).await.unwrap_err()), "invalid_request");
    // A key that is proven comes before the certificate.
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let proof = |htu: &str, jti: &str| {
        let iat = world.node.now().secs();
        let said = json!({"jti": jti, "htm": "POST", "htu": htu, "iat": iat}).to_string();
        dpop::make(&key, said.as_bytes()).unwrap()
    };
    let mtls = Some(MutualTls { at: Some("https://mtls.example".into()) });
    let provider =
        Provider::new(Config { mtls, ..world.provider.config().clone() }, world.parts.clone());
    let shows = async |proof: &str| {
        let showing = Showing { proof, method: "POST", path: "/oauth2/token" };
        provider.dpop_proof(&showing, None, None).await
    };
    // It may be sent to either address of the endpoint, and to no third.
    assert!(shows(&proof("https://issuer.example/oauth2/token", "a")).await.is_ok());
    assert!(shows(&proof("https://other.example/oauth2/token", "b")).await.is_err());
    let proven = shows(&proof("https://mtls.example/oauth2/token", "c")).await.unwrap();
    let both = Proven { key: Some(&proven), certificate: Some(&shown) };
    let answer = redeem(both).await.unwrap();
    assert_eq!(answer.token_type, "DPoP");
    assert!(claims(&answer.access_token)["cnf"].get("x5t#S256").is_none());
}

/// Whoever reads it must not be sent looking in the wrong place.
#[tokio::test]
async fn what_a_certificate_lacks_that_must_be_shown_is_said() {
    let world = World::new().await;
    let mtls = Some(MutualTls::default());
    let config = Config { mtls, ..world.provider.config().clone() };
    let asking = Provider::new(config, world.parts.clone());
    let bound = world
        .client("bound", &BOTH, |it| it.tls_client_certificate_bound_access_tokens = true)
        .await;
    let fapi =
        |it: &mut ClientMetadata| it.profile = serde_json::from_value(json!("fapi2")).unwrap();
    let bank = world
        .client("bank", &BOTH, |it| {
            fapi(it);
            it.tls_client_auth_san_uri = Some("spiffe://example/bank".into());
        })
        .await;
    let (_, signs) = client_key();
    let signing = world
        .client("signing", &BOTH, |it| {
            fapi(it);
            signs(it);
        })
        .await;
    let expired = certificate(|it| it.not_after = date_time_ymd(2001, 1, 1));
    let told = |refused| match refused {
        Refused::OAuth(told) => told.description,
        Refused::Store(error) => panic!("{error}"),
    };
    let pairs = params(&[("grant_type", "refresh_token"), ("refresh_token", "x")]);
    let nothing = Proven::default();
    for (provider, client, proven, said) in [
        (&world.provider, &bound, nothing, "nothing here asks for one"),
        (&asking, &bound, nothing, "an endpoint that asks for one"),
        (&asking, &bound, showing(&expired), "has expired"),
        (&world.provider, &bank, nothing, "nothing here asks for one"),
        (&asking, &bank, nothing, "an endpoint that asks for one"),
        (&asking, &bank, showing(&expired), "has expired"),
        // Its tokens are not bound to certificates, so another would not help it.
        (&asking, &signing, showing(&expired), "DPoP proof"),
        (&asking, &signing, nothing, "DPoP proof"),
    ] {
        let client = world.proven(client).await;
        let refused = provider.token(&client, &pairs, &place(), proven).await.unwrap_err();
        let told = told(refused);
        assert!(told.contains(said), "{}: {told}", client.id);
    }
    let named = params(&[("client_id", "bank")]);
    for (provider, said) in
        [(&world.provider, "nothing here asks"), (&asking, "an endpoint that asks")]
    {
        let told =
            told(provider.authenticate(None, &named, None, "/oauth2/token").await.unwrap_err());
        assert!(told.contains(said), "{told}");
    }
}

#[tokio::test]
async fn a_token_is_shown_by_whoever_shows_its_certificate() {
    let world = World::new().await;
    let machine = world
        .client("machine", &[GrantType::ClientCredentials], |it| {
            it.tls_client_certificate_bound_access_tokens = true;
            it.scope = READ.into();
        })
        .await;
    let own = any();
    let pairs = [("grant_type", "client_credentials")];
    let token = ask(&world, &machine, &pairs, showing(&own)).await.unwrap().access_token;
    let client = async |credential: Credential<'_>| {
        world.provider.signals_client(&credential, Need::Read).await
    };
    assert!(client(Credential::Certified(&token, &own)).await.is_ok());
    assert!(client(Credential::Certified(&token, &own)).await.is_ok());
    let refused = Err(NoAccess::NotHolder(NotHolder::OtherCertificate));
    assert_eq!(client(Credential::Certified(&token, &any())).await, refused);
    assert_eq!(client(Credential::Bearer(&token)).await, refused);
    // A certificate is no key, and no proof of one.
    let web = world.client("free", &[GrantType::ClientCredentials], |it| it.scope = READ.into());
    let free = ask(&world, &web.await, &pairs, showing(&own)).await.unwrap().access_token;
    assert!(client(Credential::Certified(&free, &any())).await.is_ok());
}
