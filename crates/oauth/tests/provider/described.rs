//! Clients that nobody registered, and that describe themselves at the address that they are called by.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tegata_core::{Batch, BoxFuture, ClientId, Expect, Stored as _, port::Page};
use tegata_oauth::{
    AuthMethod, Client, ClientMetadata, Config, Next, NotAuthorized, NotDescribed, Params, Parts,
    Proven, Provider, Refused, Said, Unsafe,
    client::NotRegistered,
    described::Rules,
    remote::{AtMost, Fetched, KeysAt, NotFetched, Published},
};
use tegata_token::{KeySet, Order, Scope, SigningKey, jws};
use tokio::sync::Semaphore;

use super::world::{
    CALLBACK, VERIFIER, World, after, asked, claims, client_key, error, params, place, query,
};

/// More than ask at once.
const MOST: usize = 10_000;

const ID: &str = "https://app.example/client.json";

/// Who is where, and how often they were asked. A fake.
struct Web {
    there: Mutex<HashMap<String, Fetched>>,
    asked: AtomicUsize,
    /// How many may be answered.
    answers: Semaphore,
}

impl Web {
    fn new() -> Arc<Self> {
        let answers = Semaphore::new(MOST);
        Arc::new(Self { there: Mutex::default(), asked: AtomicUsize::new(0), answers })
    }

    fn publish(&self, address: &str, document: &Value) {
        self.publish_for(address, document, None);
    }

    fn publish_for(&self, address: &str, document: &Value, secs: Option<u64>) {
        let body = document.to_string().into_bytes();
        let fetched = Fetched { body, fresh_for: secs.map(Duration::from_secs) };
        self.there.lock().unwrap().insert(address.to_owned(), fetched);
    }

    fn withdraw(&self, address: &str) {
        self.there.lock().unwrap().remove(address);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Published for Web {
    fn keys<'a>(
        &'a self,
        _: KeysAt<'a>,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<KeySet, NotFetched>> {
        Box::pin(async { Err(NotFetched("there are no keys".to_owned())) })
    }

    fn keys_anew<'a>(&'a self, at: KeysAt<'a>) -> BoxFuture<'a, Result<KeySet, NotFetched>> {
        self.keys(at, None)
    }

    fn document<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<u8>, NotFetched>> {
        Box::pin(async { Err(NotFetched("there is no document".to_owned())) })
    }

    fn description<'a>(
        &'a self,
        address: &'a str,
        within: AtMost,
    ) -> BoxFuture<'a, Result<Fetched, NotFetched>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert!(within.longest <= 5 * 1024 && within.time <= Duration::from_secs(3));
        Box::pin(async move {
            let _answer = self.answers.acquire().await.unwrap();
            let found = self.there.lock().unwrap().get(address).cloned();
            found.ok_or_else(|| NotFetched(format!("`{address}` answers 404")))
        })
    }
}

/// A world that takes such clients, and where they are.
async fn world() -> (World, Arc<Web>) {
    world_with(Rules::default()).await
}

async fn world_with(rules: Rules) -> (World, Arc<Web>) {
    let (mut world, web) = (World::new().await, Web::new());
    world.provider = elsewhere(&world, &web, rules);
    (world, web)
}

/// The provider of another node, on the same store.
fn elsewhere(world: &World, web: &Arc<Web>, rules: Rules) -> Provider {
    let config = Config {
        described: Some(rules),
        registration_scope: Scope::new("openid profile offline_access").unwrap(),
        ..world.provider.config().clone()
    };
    Provider::new(config, Parts { published: Arc::clone(web) as Arc<_>, ..world.parts.clone() })
}

fn document(changes: &Value) -> Value {
    let mut document = json!({
        "client_id": ID,
        "client_name": "An app",
        "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": "openid profile offline_access orders.read admin.write",
    });
    for (name, value) in changes.as_object().unwrap() {
        document[name] = value.clone();
    }
    document
}

fn wish(changes: &[(&str, &str)]) -> Params {
    let own = [("client_id", ID), ("scope", "openid profile")];
    asked(&[&own[..], changes].concat())
}

fn id() -> ClientId {
    ClientId::new(ID).unwrap()
}

fn order(reason: &str) -> Order {
    Order { reason: reason.to_owned(), actor: "operator".to_owned() }
}

async fn taken(world: &World) -> Result<Client, NotDescribed> {
    world.provider.client(&id()).await.map(Option::unwrap)
}

async fn authenticated(world: &World, changes: &[(&str, &str)]) -> Result<Client, Refused> {
    let all = [&[("client_id", ID)][..], changes].concat();
    let proven = world.provider.authenticate(None, &params(&all), None, "/oauth2/token").await?;
    Ok(proven.into_client())
}

/// A person signs in at the client, agrees, and it redeems the code.
async fn sign_in(world: &World, client: &Client) -> tegata_oauth::TokenAnswer {
    let who = world.signed_in();
    let (request, asking) = world.provider.authorization_request(&wish(&[])).await.unwrap();
    world.provider.remember_consent(&who.user, &asking, &request.scope).await.unwrap();
    let redirect = world.provider.grant_code(&request, &asking, &who).await.unwrap();
    let code = query(redirect.address(), "code");
    world.redeem(client, &code, &[]).await.unwrap()
}

#[tokio::test]
async fn somebody_signs_in_at_a_client_that_nobody_registered() {
    let (world, web) = world().await;
    web.publish(ID, &document(&json!({})));
    let who = world.signed_in();
    let (request, client) = world.provider.authorization_request(&wish(&[])).await.unwrap();
    assert_eq!((client.name.as_str(), client.host().as_deref()), ("An app", Some("app.example")));
    // What such clients may have, and nothing of our services or of administration.
    assert_eq!(client.scope.as_str(), "openid profile offline_access");
    assert!(client.is_public() && client.require_pkce && client.asks_consent);
    assert!(!client.is_declared() && !client.may_introspect);
    let next = world.provider.next(&request, &client, Some(&who), Said::default()).await;
    assert_eq!(next.unwrap(), Next::AskConsent);
    let client = authenticated(&world, &[]).await.unwrap();
    let tokens = sign_in(&world, &client).await;
    assert_eq!(claims(&tokens.access_token)["client_id"], ID);
    let refreshed = world.refresh(&client, &tokens.refresh_token.unwrap()).await.unwrap();
    assert!(world.is_active(&refreshed.access_token).await);
    // What was agreed to is remembered.
    let (request, client) = world.provider.authorization_request(&wish(&[])).await.unwrap();
    let next = world.provider.next(&request, &client, Some(&who), Said::default()).await;
    assert_eq!(next.unwrap(), Next::Answer);
    assert_eq!(web.asked(), 1);
}

#[tokio::test]
async fn it_is_off_unless_it_is_turned_on_and_says_so() {
    let world = World::new().await;
    let name = "client_id_metadata_document_supported";
    assert!(world.provider.metadata().get(name).is_none());
    let refused = world.provider.authorization_request(&wish(&[])).await.unwrap_err();
    assert_eq!(refused, NotAuthorized::Page(Unsafe::Client));
    assert_eq!(error(authenticated(&world, &[]).await.unwrap_err()), "invalid_client");
    let (world, web) = self::world().await;
    assert_eq!(world.provider.metadata()[name], true);
    // A name that is no address is nobody's, and nobody is asked.
    let unknown = asked(&[("client_id", "app.example/client.json")]);
    let refused = world.provider.authorization_request(&unknown).await.unwrap_err();
    assert_eq!(refused, NotAuthorized::Page(Unsafe::Client));
    for bad in ["http://app.example/c", "https://app.example", "https://a@app.example/c"] {
        let refused = world.provider.authorization_request(&asked(&[("client_id", bad)])).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, NotAuthorized::Page(Unsafe::Described(NotDescribed::Address(_)))),
            "{bad}"
        );
    }
    assert_eq!(web.asked(), 0);
}

#[tokio::test]
async fn a_document_that_says_what_cannot_be_is_not_taken() {
    let key = SigningKey::generate(tegata_token::Algorithm::Es256).unwrap();
    let mut private = json!(key.jwk());
    private["d"] = json!("AA");
    for (changes, word) in [
        (json!({"client_id": "https://app.example/client.json/"}), "`client_id`"),
        (json!({"client_id": "https://app.example:443/client.json"}), "`client_id`"),
        (json!({"client_id": "https://APP.example/client.json"}), "`client_id`"),
        (json!({"client_id": "https://other.example/client.json"}), "`client_id`"),
        (json!({"client_id": [ID]}), "`client_id`"),
        (json!({"client_id": null}), "`client_id`"),
        (json!({"client_secret": "a secret that everybody can read"}), "`client_secret`"),
        (json!({"client_secret_expires_at": 0}), "`client_secret_expires_at`"),
        (json!({"token_endpoint_auth_method": "client_secret_basic"}), "`none`"),
        (json!({"token_endpoint_auth_method": "client_secret_post"}), "`none`"),
        (json!({"token_endpoint_auth_method": "client_secret_jwt"}), "`none`"),
        (json!({"token_endpoint_auth_method": "tls_client_auth"}), "`none`"),
        (json!({"token_endpoint_auth_method": ["none"]}), "`none`"),
        (json!({"token_endpoint_auth_method": "private_key_jwt"}), "jwks"),
        (json!({"jwks": {"keys": [private]}}), "private"),
        (json!({"jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}), "symmetric"),
        (json!({"jwks_uri": "https://victim.example/keys"}), "`jwks_uri`"),
        (json!({"jwks_uri": "https://app.example.evil.example/keys"}), "`jwks_uri`"),
        (json!({"jwks_uri": "http://app.example/keys"}), "`jwks_uri`"),
        (json!({"sector_identifier_uri": "https://app.example/s"}), "sector"),
        (json!({"subject_type": "pairwise"}), "pairwise"),
        (json!({"redirect_uris": []}), "redirect_uris"),
        (json!({"redirect_uris": ["http://app.example/cb"]}), "https"),
        (json!({"redirect_uris": ["javascript:alert(1)"]}), "scheme"),
        (json!({"redirect_uris": ["https://app.example/#x"]}), "fragment"),
        (json!({"grant_types": ["client_credentials"]}), "`authorization_code`"),
        (json!({"grant_types": "authorization_code"}), "grant_types"),
        (json!({"client_name": "x".repeat(101)}), "`client_name`"),
        (json!({"client_name": "Tegata\u{202e}lageT"}), "`client_name`"),
        (json!({"client_name": "Tegata\nSecurity"}), "`client_name`"),
        (json!({"client_name": "Tegata\u{206f}"}), "`client_name`"),
        (json!({"policy_uri": "javascript:x"}), "https"),
        (json!({"scope": "a\"b"}), "scope"),
    ] {
        let (world, web) = world().await;
        web.publish(ID, &document(&changes));
        let Err(NotDescribed::Invalid(why)) = taken(&world).await else { panic!("{changes}") };
        assert!(why.contains(word), "{changes}: {why}");
        assert_eq!(error(authenticated(&world, &[]).await.unwrap_err()), "invalid_client");
    }
    for body in ["", "[]", "null", "{", "\"x\"", "<html>"] {
        let (world, web) = world().await;
        let fetched = Fetched { body: body.into(), fresh_for: None };
        web.there.lock().unwrap().insert(ID.to_owned(), fetched);
        assert!(matches!(taken(&world).await, Err(NotDescribed::Invalid(_))), "{body}");
    }
}

#[tokio::test]
async fn a_document_is_for_all_servers_and_what_is_not_for_this_one_is_passed_over() {
    let (world, web) = world().await;
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    let changes = json!({
        "grant_types": ["authorization_code", device, "urn:example:of-another", "implicit"],
        "response_types": ["code", "code id_token"],
        "logo_uri": "https://bank.example/logo.png",
        "backchannel_logout_uri": "https://victim.example/bc",
        "userinfo_signed_response_alg": "ES256",
        "software_statement": "x.y.z",
        "may_introspect": true,
        "asks_consent": false,
        "require_pkce": false,
        "client_name": null,
    });
    web.publish(ID, &document(&changes));
    let client = taken(&world).await.unwrap();
    assert_eq!(client.name, "app.example");
    assert_eq!(client.grant_types.len(), 1);
    assert_eq!((client.logo_uri, client.backchannel_logout_uri), (None, None));
    assert_eq!(client.userinfo_alg, None);
    assert!(client.asks_consent && client.require_pkce && !client.may_introspect);
    let client = taken(&world).await.unwrap();
    let refused = world.provider.authorize_device(&client, &params(&[]), None).await.unwrap_err();
    assert_eq!(error(refused), "unauthorized_client");
    let refused = world.provider.introspect(&client, &params(&[("token", "x")])).await;
    assert_eq!(error(refused.unwrap_err()), "unauthorized_client");
}

#[tokio::test]
async fn people_who_sign_out_are_sent_where_the_document_says_and_nowhere_else() {
    let (world, web) = world().await;
    let bye = "https://app.example/bye";
    web.publish(ID, &document(&json!({"post_logout_redirect_uris": [bye]})));
    let ask = async |id: &str, uri: &str| {
        let asked = params(&[("client_id", id), ("post_logout_redirect_uri", uri)]);
        world.provider.end_session(&asked).await.map(|wish| wish.then)
    };
    assert_eq!(ask(ID, bye).await.unwrap().as_deref(), Some(bye));
    assert!(ask(ID, "https://evil.example/").await.is_err());
    assert!(ask("https://app.example/none", bye).await.is_err());
    // Nobody is kept from signing out by a client that is not there.
    let asked = params(&[("client_id", "https://app.example/none")]);
    assert_eq!(world.provider.end_session(&asked).await.unwrap().client, None);
}

#[tokio::test]
async fn one_with_keys_proves_itself_by_them() {
    let (world, web) = world().await;
    let mut metadata = ClientMetadata::default();
    let (key, add) = client_key();
    add(&mut metadata);
    let mut said = document(&json!({"jwks": metadata.jwks}));
    // Who has keys and says nothing else means them to count.
    said.as_object_mut().unwrap().remove("token_endpoint_auth_method");
    web.publish(ID, &said);
    let client = taken(&world).await.unwrap();
    assert_eq!(client.auth, AuthMethod::PrivateKeyJwt);
    for changes in [&[][..], &[("client_secret", "x")]] {
        assert_eq!(error(authenticated(&world, changes).await.unwrap_err()), "invalid_client");
    }
    let (stranger, _) = client_key();
    for (key, jti, proves) in [(&key, "a", true), (&stranger, "b", false)] {
        let claims = json!({
            "iss": ID, "sub": ID, "aud": "https://issuer.example",
            "exp": world.node.now().secs() + 60, "jti": jti,
        });
        let assertion = jws::sign(key, "JWT", claims.to_string().as_bytes()).unwrap();
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let shown = [("client_assertion", assertion.as_str()), ("client_assertion_type", kind)];
        let answer = authenticated(&world, &shown).await;
        assert_eq!(answer.map(|client| client.id).ok(), proves.then(id));
    }
    let near = json!({"jwks_uri": "https://app.example:8443/keys",
        "token_endpoint_auth_method": "private_key_jwt"});
    let (world, web) = self::world().await;
    web.publish(ID, &document(&near));
    assert_eq!(taken(&world).await.unwrap().jwks_uri.unwrap(), "https://app.example:8443/keys");
}

#[tokio::test]
async fn a_document_counts_for_as_long_as_it_says_within_what_is_let() {
    for (said, kept) in
        [(None, 300), (Some(0), 60), (Some(120), 120), (Some(3600), 3600), (Some(86_400), 3600)]
    {
        let (world, web) = world().await;
        web.publish_for(ID, &document(&json!({})), said);
        taken(&world).await.unwrap();
        after(&world.clock, kept - 1);
        taken(&world).await.unwrap();
        assert_eq!(web.asked(), 1, "{said:?}");
        after(&world.clock, 1);
        taken(&world).await.unwrap();
        assert_eq!(web.asked(), 2, "{said:?}");
    }
}

#[tokio::test]
async fn what_a_document_takes_back_counts_no_longer() {
    let (world, web) = world().await;
    web.publish_for(ID, &document(&json!({})), Some(60));
    let client = taken(&world).await.unwrap();
    let tokens = sign_in(&world, &client).await;
    let (request, _) = world.provider.authorization_request(&wish(&[])).await.unwrap();
    let handle = world.provider.hold(&request).await.unwrap();
    assert!(world.provider.held(&handle).await.unwrap().is_some());
    let elsewhere = json!({"redirect_uris": ["https://app.example/other"], "scope": "openid"});
    web.publish_for(ID, &document(&elsewhere), Some(60));
    after(&world.clock, 60);
    // Neither for what comes now nor for what waits for a person.
    let refused = world.provider.authorization_request(&wish(&[])).await.unwrap_err();
    assert_eq!(refused, NotAuthorized::Page(Unsafe::RedirectUri));
    assert!(world.provider.held(&handle).await.unwrap().is_none());
    let client = authenticated(&world, &[]).await.unwrap();
    let refreshed = world.refresh(&client, &tokens.refresh_token.unwrap()).await.unwrap();
    assert_eq!(refreshed.scope, "openid");
    // A document that is there no more leaves nobody who could ask.
    web.withdraw(ID);
    after(&world.clock, 60);
    assert_eq!(error(authenticated(&world, &[]).await.unwrap_err()), "temporarily_unavailable");
}

#[tokio::test]
async fn an_address_that_gave_nothing_is_left_alone_for_a_moment() {
    let (world, web) = world().await;
    for _ in 0..100 {
        assert_eq!(taken(&world).await.unwrap_err(), NotDescribed::Away);
    }
    assert_eq!(web.asked(), 1);
    web.publish(ID, &document(&json!({})));
    after(&world.clock, 10);
    taken(&world).await.unwrap();
    assert_eq!(web.asked(), 2);
}

#[tokio::test]
async fn a_thousand_who_come_at_once_ask_once() {
    let (world, web) = world().await;
    web.publish(ID, &document(&json!({})));
    let held = web.answers.acquire_many(u32::try_from(MOST).unwrap()).await.unwrap();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let provider = world.provider.clone();
        all.spawn(async move { provider.client(&id()).await.unwrap().unwrap().name });
    }
    // Each has come as far as it can.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!((web.asked(), all.len()), (1, 1000));
    assert!(all.try_join_next().is_none());
    drop(held);
    let names = all.join_all().await;
    assert!(names.len() == 1000 && names.iter().all(|name| name == "An app"));
    assert_eq!(web.asked(), 1);
}

#[tokio::test]
async fn whoever_invents_addresses_has_a_host_asked_so_often_and_keeps_nobody_out_who_is_known() {
    let (world, web) = world().await;
    web.publish_for(ID, &document(&json!({})), Some(60));
    let client = taken(&world).await.unwrap();
    sign_in(&world, &client).await;
    let before = web.asked();
    let flood = async |host: &str| {
        for n in 0..100 {
            let id = ClientId::new(&format!("https://{host}/{n}")).unwrap();
            assert!(world.provider.client(&id).await.is_err());
        }
    };
    flood("app.example").await;
    // The first that was asked there was the client itself.
    assert_eq!(web.asked() - before, 59);
    for host in 0..10 {
        flood(&format!("h{host}.example")).await;
    }
    assert!(web.asked() - before <= 300, "{}", web.asked());
    let id = ClientId::new("https://new.example/c").unwrap();
    assert_eq!(world.provider.client(&id).await.unwrap_err(), NotDescribed::Busy);
    let asks = params(&[("client_id", id.as_str())]);
    let refused =
        world.provider.authenticate(None, &asks, None, "/oauth2/token").await.unwrap_err();
    assert_eq!(error(refused), "temporarily_unavailable");
    // Its document has to be asked for, and is.
    after(&world.clock, 60);
    let asked = web.asked();
    for n in 0..400 {
        let id = ClientId::new(&format!("https://app.example/again/{n}")).unwrap();
        assert!(world.provider.client(&id).await.is_err());
    }
    assert!(web.asked() > asked);
    taken(&world).await.unwrap();
}

/// Its document is at hand, and its keys may have to be asked for.
#[tokio::test]
async fn a_stranger_whose_keys_are_elsewhere_counts_each_time() {
    let (world, web) = world().await;
    let keys = json!({
        "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://h1.example/keys",
    });
    for (n, (more, each_time)) in [(json!({}), false), (keys, true)].into_iter().enumerate() {
        let id = format!("https://h{n}.example/c");
        let mut said = more;
        said["client_id"] = json!(id);
        web.publish_for(&id, &document(&said), Some(3600));
        assert!(world.provider.is_stranger(&id).await.unwrap());
        let client = world.provider.client(&ClientId::new(&id).unwrap()).await.unwrap().unwrap();
        assert_eq!(client.jwks_uri.is_some(), each_time);
        assert_eq!(world.provider.is_stranger(&id).await.unwrap(), each_time);
        // Once people have agreed to it, it is none.
        let realm = world.provider.realm().clone();
        world.commit(Batch::new(realm).with(client.put(Expect::Absent))).await;
        assert!(!world.provider.is_stranger(&id).await.unwrap());
    }
}

/// However many others are asked for, those that people have agreed to are at hand.
#[tokio::test]
async fn a_flood_of_strangers_pushes_nobody_out_who_is_known() {
    let (world, web) = world().await;
    web.publish_for(ID, &document(&json!({})), Some(3600));
    sign_in(&world, &taken(&world).await.unwrap()).await;
    taken(&world).await.unwrap();
    let asked = web.asked();
    for n in 0..3000 {
        let id = format!("https://h{n}.example/c");
        web.publish_for(&id, &document(&json!({"client_id": id})), Some(3600));
        world.provider.client(&ClientId::new(&id).unwrap()).await.unwrap();
        if n % 200 == 199 {
            after(&world.clock, 60);
        }
    }
    let after = web.asked();
    assert_eq!(after - asked, 3000);
    taken(&world).await.unwrap();
    assert_eq!(web.asked(), after, "it was kept");
}

/// Anybody with an account may agree to clients of their own, and have all that are known be asked.
#[tokio::test]
async fn while_too_many_are_asked_a_known_client_is_what_it_was_a_while_ago() {
    let (world, web) = world().await;
    web.publish_for(ID, &document(&json!({})), Some(60));
    sign_in(&world, &taken(&world).await.unwrap()).await;
    taken(&world).await.unwrap();
    after(&world.clock, 60);
    let asked = web.asked();
    // Nobody is answered.
    let held = web.answers.acquire_many(u32::try_from(MOST).unwrap()).await.unwrap();
    let realm = world.provider.realm().clone();
    let mut all = tokio::task::JoinSet::new();
    for n in 0..64 {
        let id = ClientId::new(&format!("https://h{n}.example/c")).unwrap();
        let kept = world.provider.clients().load(&realm, &self::id()).await.unwrap().unwrap();
        let known = Client { id: id.clone(), ..kept.value };
        world.commit(Batch::new(realm.clone()).with(known.put(Expect::Absent))).await;
        let provider = world.provider.clone();
        all.spawn(async move { provider.client(&id).await.is_err() });
    }
    while web.asked() - asked < 64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(taken(&world).await.unwrap().name, "An app");
    assert_eq!(web.asked() - asked, 64);
    // But not for long: what it said an hour ago counts no more.
    after(&world.clock, 3540);
    assert_eq!(taken(&world).await.unwrap_err(), NotDescribed::Busy);
    drop(held);
    assert!(all.join_all().await.into_iter().all(|none| none));
    taken(&world).await.unwrap();
}

/// Whoever was given something while the client was removed or refused, on a node that had not heard of it.
#[tokio::test]
async fn what_is_granted_while_it_is_let_go_of_gives_nothing() {
    for refuses in [false, true] {
        let (world, web) = world().await;
        web.publish(ID, &document(&json!({})));
        let tokens = sign_in(&world, &taken(&world).await.unwrap()).await;
        let deaf = Parts { published: Arc::clone(&web) as Arc<_>, ..world.deaf_parts() };
        let deaf = Provider::new(world.provider.config().clone(), deaf);
        let who = world.signed_in();
        let (request, asking) = deaf.authorization_request(&wish(&[])).await.unwrap();
        deaf.remember_consent(&who.user, &asking, &request.scope).await.unwrap();
        after(&world.clock, 1);
        if refuses {
            world.provider.refuse_client(&id(), vec![], &order("spam")).await.unwrap();
        } else {
            world.provider.remove_client(&id(), vec![], &order("client_removed")).await.unwrap();
        }
        assert!(!world.is_active(&tokens.access_token).await, "{refuses}");
        after(&world.clock, 1);
        // The code is written down after that.
        let redirect = deaf.grant_code(&request, &asking, &who).await;
        let code = query(redirect.unwrap().address(), "code");
        let redeeming = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        let refreshing = [
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens.refresh_token.as_deref().unwrap()),
        ];
        for pairs in [&redeeming[..], &refreshing] {
            let client = deaf.registered(&id()).await;
            let Ok(client) = client.map(Option::unwrap) else {
                assert!(refuses);
                continue;
            };
            let given = deaf.token(&client, &params(pairs), &place(), Proven::default()).await;
            assert_eq!(error(given.unwrap_err()), "invalid_grant", "{pairs:?}");
        }
    }
}

#[tokio::test]
async fn hosts_that_are_not_named_are_not_asked() {
    let rules = Rules { hosts: vec!["*.example.com".parse().unwrap()], local: false };
    let (world, web) = world_with(rules).await;
    let refused = taken(&world).await.unwrap_err();
    assert_eq!(refused, NotDescribed::Host("app.example".to_owned()));
    assert_eq!(web.asked(), 0);
    let id = ClientId::new("https://a.example.com/c").unwrap();
    web.publish(id.as_str(), &document(&json!({"client_id": id})));
    assert!(world.provider.client(&id).await.unwrap().is_some());
}

#[tokio::test]
async fn what_one_was_given_no_other_uses() {
    let (world, web) = world().await;
    let other = "https://app.example/other.json";
    web.publish(ID, &document(&json!({})));
    web.publish(other, &document(&json!({"client_id": other})));
    let own = taken(&world).await.unwrap();
    let other = ClientId::new(other).unwrap();
    let other = world.provider.client(&other).await.unwrap().unwrap();
    let (request, asking) = world.provider.authorization_request(&wish(&[])).await.unwrap();
    let who = world.signed_in();
    world.provider.remember_consent(&who.user, &asking, &request.scope).await.unwrap();
    let redirect = world.provider.grant_code(&request, &asking, &who).await.unwrap();
    let code = query(redirect.address(), "code");
    assert_eq!(error(world.redeem(&other, &code, &[]).await.unwrap_err()), "invalid_grant");
    let tokens = sign_in(&world, &own).await;
    let refresh = tokens.refresh_token.unwrap();
    assert_eq!(error(world.refresh(&other, &refresh).await.unwrap_err()), "invalid_grant");
    let pushed = world.provider.push(&own, &wish(&[])).await.unwrap().request_uri;
    let stolen = params(&[("client_id", other.id.as_str()), ("request_uri", &pushed)]);
    let refused = world.provider.authorization_request(&stolen).await.unwrap_err();
    assert_eq!(refused, NotAuthorized::Page(Unsafe::Expired));
    let used = params(&[("client_id", ID), ("request_uri", &pushed)]);
    world.provider.authorization_request(&used).await.unwrap();
}

/// Whatever runs on a machine can come in the name of a program on it.
#[tokio::test]
async fn people_are_asked_each_time_where_it_could_be_anybody() {
    let (world, web) = world().await;
    let native = "http://127.0.0.1/cb";
    web.publish(
        ID,
        &document(&json!({"redirect_uris": [native, CALLBACK, "com.example.app:/cb"]})),
    );
    let who = world.signed_in();
    let client = taken(&world).await.unwrap();
    sign_in(&world, &client).await;
    for (uri, next) in [
        ("http://127.0.0.1:4000/cb", Next::AskConsent),
        ("com.example.app:/cb", Next::AskConsent),
        (CALLBACK, Next::Answer),
    ] {
        let wish = wish(&[("redirect_uri", uri)]);
        let (request, client) = world.provider.authorization_request(&wish).await.unwrap();
        let found = world.provider.next(&request, &client, Some(&who), Said::default()).await;
        assert_eq!(found.unwrap(), next, "{uri}");
    }
}

#[tokio::test]
async fn what_is_kept_of_it_lets_it_do_nothing_and_cannot_be_made_to() {
    let (world, web) = world().await;
    web.publish(ID, &document(&json!({"client_name": "An app"})));
    let clients = world.provider.clients();
    let realm = world.provider.realm();
    let client = taken(&world).await.unwrap();
    // Nobody writes anything down before a person has agreed.
    assert!(clients.load(realm, &id()).await.unwrap().is_none());
    sign_in(&world, &client).await;
    let kept = clients.load(realm, &id()).await.unwrap().unwrap();
    let listed = clients.list(realm, Page { after: None, limit: 10 }).await.unwrap();
    assert!(listed.iter().any(|it| it.id.as_str() == ID && it.name == "An app"));
    // This is all that a release without documents knows of it.
    assert!(kept.value.grant_types.is_empty() && kept.value.redirect_uris.is_empty());
    assert!(kept.value.scope.is_empty() && kept.value.is_public());
    let refused = clients.rotate_secret(realm, &id()).await.unwrap_err();
    assert!(matches!(refused, NotRegistered::Described(_)), "{refused}");
    let declared = ClientMetadata { public: true, ..ClientMetadata::of(&kept.value) };
    let refused = clients.amend(realm, &kept, &declared).await.unwrap_err();
    assert!(matches!(refused, NotRegistered::Described(_)), "{refused}");
}

#[tokio::test]
async fn one_that_is_declared_under_its_address_is_what_was_declared() {
    let (world, web) = world().await;
    web.publish(ID, &document(&json!({})));
    sign_in(&world, &taken(&world).await.unwrap()).await;
    let asked = web.asked();
    let declared = ClientMetadata {
        client_id: ID.into(),
        public: true,
        redirect_uris: vec!["https://app.example/declared".into()],
        ..ClientMetadata::default()
    };
    world.provider.clients().declare(world.provider.realm(), &declared, None).await.unwrap();
    let client = taken(&world).await.unwrap();
    assert!(client.is_declared() && client.host().is_none());
    assert_eq!(client.redirect_uris[0].as_str(), "https://app.example/declared");
    assert_eq!(web.asked(), asked);
    let refused = world.provider.refuse_client(&id(), vec![], &order("spam")).await.unwrap_err();
    assert!(matches!(refused, NotRegistered::NotDescribed(_)), "{refused}");
}

#[tokio::test]
async fn one_that_is_refused_is_refused_on_all_nodes_until_it_is_removed() {
    let (world, web) = world().await;
    web.publish(ID, &document(&json!({})));
    let tokens = sign_in(&world, &taken(&world).await.unwrap()).await;
    let other = elsewhere(&world, &web, Rules::default());
    other.client(&id()).await.unwrap();
    let (request, _) = world.provider.authorization_request(&wish(&[])).await.unwrap();
    let handle = world.provider.hold(&request).await.unwrap();

    world.provider.refuse_client(&id(), vec![], &order("spam")).await.unwrap();
    world.provider.refuse_client(&id(), vec![], &order("again")).await.unwrap();
    let asked = web.asked();
    for provider in [&world.provider, &other] {
        assert_eq!(provider.client(&id()).await.unwrap_err(), NotDescribed::Refused);
        let refused = provider.authorization_request(&wish(&[])).await.unwrap_err();
        assert_eq!(refused, NotAuthorized::Page(Unsafe::Described(NotDescribed::Refused)));
    }
    assert!(world.provider.held(&handle).await.unwrap().is_none());
    let refresh = tokens.refresh_token.unwrap();
    let asks = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    assert_eq!(error(authenticated(&world, &asks).await.unwrap_err()), "invalid_client");
    assert_eq!(web.asked(), asked);
    // One that nobody has seen can be refused, too, and one that is no address cannot.
    let unseen = ClientId::new("https://evil.example/c").unwrap();
    world.provider.refuse_client(&unseen, vec![], &order("spam")).await.unwrap();
    assert_eq!(world.provider.client(&unseen).await.unwrap_err(), NotDescribed::Refused);
    for nobody in ["https://app.example", "https://APP.example/c", "https://app.example:443/c"] {
        let nobody = ClientId::new(nobody).unwrap();
        let refused =
            world.provider.refuse_client(&nobody, vec![], &order("spam")).await.unwrap_err();
        assert!(matches!(refused, NotRegistered::NotAnAddress(..)), "{refused}");
    }
    let named = ClientId::new("web").unwrap();
    let refused = world.provider.refuse_client(&named, vec![], &order("spam")).await.unwrap_err();
    assert!(matches!(refused, NotRegistered::NotDescribed(_)), "{refused}");

    // Whoever forgets it lets it in again, as somebody to whom nobody has said anything.
    after(&world.clock, 1);
    world.provider.clients().remove(world.provider.realm(), &id()).await.unwrap();
    let (request, client) = world.provider.authorization_request(&wish(&[])).await.unwrap();
    let who = world.signed_in();
    let next = world.provider.next(&request, &client, Some(&who), Said::default()).await;
    assert_eq!(next.unwrap(), Next::AskConsent);
}
