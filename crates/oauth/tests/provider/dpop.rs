//! Keys that tokens are bound to, where several nodes and several clients are involved.

use serde_json::json;
use tegata_oauth::{
    Client, ClientMetadata, Credential, DpopNonce, GrantType, NotHolder, Proven, ProvenKey,
    Provider, Refused, Showing, TokenAnswer,
    signals::access::{Need, NoAccess, READ},
};
use tegata_token::{Algorithm, SigningKey, dpop};
use tokio::task::JoinSet;

use super::world::{VERIFIER, World, claims, error, params, place};

const TOKEN: &str = "https://issuer.example/oauth2/token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap()
}

fn proof(world: &World, key: &SigningKey, jti: &str) -> String {
    let iat = world.node.now().secs();
    let claims = json!({"jti": jti, "htm": "POST", "htu": TOKEN, "iat": iat});
    dpop::make(key, claims.to_string().as_bytes()).unwrap()
}

fn showing(proof: &str) -> Showing<'_> {
    Showing { proof, method: "POST", path: "/oauth2/token" }
}

pub(crate) async fn proven(world: &World, key: &SigningKey, jti: &str) -> ProvenKey {
    let proof = proof(world, key, jti);
    world.provider.dpop_proof(&showing(&proof), None, None).await.unwrap()
}

async fn ask(
    world: &World,
    client: &Client,
    pairs: &[(&str, &str)],
    key: Option<&ProvenKey>,
) -> Result<TokenAnswer, Refused> {
    world
        .provider
        .token(&world.proven(client).await, &params(pairs), &place(), Proven::by(key))
        .await
}

/// An access token of a person that is bound to a key.
async fn bound(world: &World, key: &SigningKey) -> String {
    let web = world.web().await;
    let code = world.code(&[("scope", "openid orders.read payments.write")]).await;
    let pairs = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", super::world::CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let proven = proven(world, key, "redeem").await;
    ask(world, &web, &pairs, Some(&proven)).await.unwrap().access_token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_who_show_one_proof_to_two_nodes_one_passes() {
    let world = World::new().await;
    let nodes: [Provider; 2] =
        [world.provider.clone(), world.elsewhere(world.parts.ephemeral.clone())];
    let (proof, mut showings) = (proof(&world, &key(), "once"), JoinSet::new());
    for number in 0..10_000 {
        let (node, proof) = (nodes[number % 2].clone(), proof.clone());
        showings.spawn(async move { node.dpop_proof(&showing(&proof), None, None).await });
    }
    let answers = showings.join_all().await;
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).map(error).collect();
    assert_eq!(refused.len(), 9_999);
    assert!(refused.iter().all(|code| *code == "invalid_dpop_proof"));
}

#[tokio::test]
async fn a_nonce_of_one_node_counts_at_all() {
    let world = World::new().await;
    let other = world.elsewhere(world.parts.ephemeral.clone());
    let strict = world
        .client("strict", &[GrantType::ClientCredentials], |it: &mut ClientMetadata| {
            it.dpop_nonce = Some(DpopNonce::Required);
        })
        .await;
    let (key, iat) = (key(), world.node.now().secs());
    let claims = json!({
        "jti": "a", "htm": "POST", "htu": TOKEN, "iat": iat, "nonce": other.dpop_nonce(),
    });
    let proof = dpop::make(&key, claims.to_string().as_bytes()).unwrap();
    let proven = world.provider.dpop_proof(&showing(&proof), Some(&strict), None).await.unwrap();
    assert_eq!(proven.jkt(), key.jwk().thumbprint());
    assert!(!proven.wants_nonce());
}

#[tokio::test]
async fn an_exchange_unbinds_nothing_and_binds_nothing_to_a_thief() {
    let world = World::new().await;
    let (holder, thief) = (key(), key());
    let subject = bound(&world, &holder).await;
    let orders = world.client("orders", &[GrantType::TokenExchange], |_| {}).await;
    let pairs = [
        ("grant_type", EXCHANGE),
        ("subject_token", subject.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("audience", "payments"),
    ];
    let unproven = ask(&world, &orders, &pairs, None).await.unwrap_err();
    assert_eq!(error(unproven), "invalid_request");
    // The token is for the gateway: nobody tells how this client came by it.
    let theirs = proven(&world, &thief, "a").await;
    let stolen = ask(&world, &orders, &pairs, Some(&theirs)).await.unwrap_err();
    assert_eq!(error(stolen), "invalid_request");
    let own = proven(&world, &holder, "b").await;
    let answer = ask(&world, &orders, &pairs, Some(&own)).await.unwrap();
    assert_eq!(answer.token_type, "DPoP");
    let cnf = json!({"jkt": holder.jwk().thumbprint()});
    assert_eq!(claims(&answer.access_token)["cnf"], cnf);
}

#[tokio::test]
async fn whom_a_token_is_for_may_bind_what_is_made_of_it_to_its_own_key() {
    let world = World::new().await;
    let (holder, service) = (key(), key());
    let machine = world.client("machine", &[GrantType::ClientCredentials], |_| {}).await;
    let orders = world.client("orders", &[GrantType::TokenExchange], |_| {}).await;
    let to_orders = [("grant_type", "client_credentials"), ("audience", "orders")];
    let proven_by_machine = proven(&world, &holder, "a").await;
    let subject = ask(&world, &machine, &to_orders, Some(&proven_by_machine)).await.unwrap();
    assert_eq!(subject.token_type, "DPoP");
    let pairs = [
        ("grant_type", EXCHANGE),
        ("subject_token", subject.access_token.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("audience", "payments"),
    ];
    assert!(ask(&world, &orders, &pairs, None).await.is_err());
    let own = proven(&world, &service, "b").await;
    let answer = ask(&world, &orders, &pairs, Some(&own)).await.unwrap();
    let cnf = json!({"jkt": service.jwk().thumbprint()});
    assert_eq!(claims(&answer.access_token)["cnf"], cnf);
    // What is not bound may be: nothing is lost by it.
    let unbound = ask(&world, &machine, &to_orders, None).await.unwrap();
    let mut pairs = pairs;
    pairs[1].1 = &unbound.access_token;
    let own = proven(&world, &service, "c").await;
    assert_eq!(ask(&world, &orders, &pairs, Some(&own)).await.unwrap().token_type, "DPoP");
}

#[tokio::test]
async fn a_request_that_was_pushed_with_a_proof_is_bound_to_its_key() {
    let world = World::new().await;
    world.web().await;
    let (own, other) = (key(), key());
    let jkt = own.jwk().thumbprint();
    let proven_own = proven(&world, &own, "a").await;
    let mut unnamed = world.request(&[]).await;
    unnamed.bind_to(&proven_own).unwrap();
    assert_eq!(unnamed.dpop_jkt.as_deref(), Some(jkt.as_str()));
    let mut named = world.request(&[("dpop_jkt", &jkt)]).await;
    assert!(named.bind_to(&proven_own).is_ok());
    let proven_other = proven(&world, &other, "b").await;
    assert_eq!(named.bind_to(&proven_other).unwrap_err().code.name(), "invalid_dpop_proof");
    assert_eq!(named.dpop_jkt.as_deref(), Some(jkt.as_str()));
}

#[tokio::test]
async fn the_endpoints_of_signals_take_a_bound_token_from_its_holder_alone() {
    let world = World::new().await;
    let receiver = world
        .client("receiver", &[GrantType::ClientCredentials], |it| it.scope = READ.into())
        .await;
    let pairs = [("grant_type", "client_credentials")];
    let free = ask(&world, &receiver, &pairs, None).await.unwrap().access_token;
    let holder = key();
    let proven = proven(&world, &holder, "a").await;
    let bound = ask(&world, &receiver, &pairs, Some(&proven)).await.unwrap().access_token;
    let iat = world.node.now().secs();
    let claims = json!({
        "jti": "b", "htm": "GET", "htu": "https://issuer.example/ssf/streams", "iat": iat,
        "ath": dpop::hash_of(&bound),
    });
    let proof = dpop::make(&holder, claims.to_string().as_bytes()).unwrap();
    let showing = Showing { proof: &proof, method: "GET", path: "/ssf/streams" };
    let client = async |credential: &Credential<'_>| {
        world.provider.signals_client(credential, Need::Read).await
    };
    assert!(client(&Credential::Bearer(&free)).await.is_ok());
    let refused = client(&Credential::Bearer(&bound)).await.unwrap_err();
    assert_eq!(refused, NoAccess::NotHolder(NotHolder::Unproven));
    let refused = client(&Credential::Bound(&free, showing)).await.unwrap_err();
    assert_eq!(refused, NoAccess::NotHolder(NotHolder::OtherKey));
    assert!(client(&Credential::Bound(&bound, showing)).await.is_ok());
    assert!(client(&Credential::Bound(&bound, showing)).await.is_err());
}
