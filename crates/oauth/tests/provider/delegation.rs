//! Exchange with an actor: who may act for whom, how deep, and what such tokens fall with.

use serde_json::{Value, json};
use tegata_core::ClientId;
use tegata_oauth::{ClientMetadata, Delegation, GrantType, Proven, Refused, TokenAnswer};
use tegata_token::{Algorithm, Order, Scope, jws};

use super::world::{World, after, claims, error, params, place};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

type Asked<'a> = Vec<(&'a str, &'a str)>;

impl World {
    async fn ask(&self, client: &str, pairs: &[(&str, &str)]) -> Result<TokenAnswer, Refused> {
        let client = self.named(client).await;
        self.provider.token(&client, &params(pairs), &place(), Proven::by(None)).await
    }

    async fn refused(&self, client: &str, pairs: &[(&str, &str)]) -> &'static str {
        error(self.ask(client, pairs).await.unwrap_err())
    }

    /// The token of a person, for the gateway, which `web` got, signed with another key than what is
    /// made from it.
    async fn persons_token(&self) -> String {
        let grants = [GrantType::AuthorizationCode];
        let signed = |it: &mut ClientMetadata| {
            it.access_token_signed_response_alg = Some(Algorithm::EdDsa);
        };
        let web = self.client("web", &grants, signed).await;
        let code = self.code(&[("scope", "openid orders.read payments.write")]).await;
        self.redeem(&web, &code, &[]).await.unwrap().access_token
    }

    /// `orders`, `batch` and `payments`, which exchange, and a person's token.
    async fn shop(&self) -> String {
        for name in ["orders", "batch", "payments"] {
            let grants = [GrantType::TokenExchange, GrantType::ClientCredentials];
            self.client(name, &grants, |_| {}).await;
        }
        self.persons_token().await
    }

    /// A token that a client got in its own name.
    async fn own(&self, client: &str) -> String {
        self.ask(client, &[("grant_type", "client_credentials")]).await.unwrap().access_token
    }

    fn declare(&self, delegation: Delegation) {
        self.services.0.lock().unwrap().push(delegation);
    }

    async fn take_back(&self, client: &str) {
        let order = Order { reason: "stolen".into(), actor: "test".into() };
        self.provider.take_back_client(&id(client), &order).await.unwrap();
    }

    async fn revoke(&self, by: &str, token: &str) {
        let found = self.provider.clients().load(self.provider.realm(), &id(by)).await.unwrap();
        let pairs = params(&[("token", token)]);
        self.provider.revoke(&found.unwrap().value, &pairs).await.unwrap();
    }
}

fn id(client: &str) -> ClientId {
    client.parse().unwrap()
}

fn exchange<'a>(subject: &'a str, more: &[(&'a str, &'a str)]) -> Asked<'a> {
    let mut all = vec![
        ("grant_type", EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    all.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    all.extend(more);
    all
}

fn with_actor<'a>(subject: &'a str, actor: &'a str, target: &'a str) -> Asked<'a> {
    let more = [("actor_token", actor), ("actor_token_type", ACCESS_TOKEN), ("audience", target)];
    exchange(subject, &more)
}

/// `orders` at `payments`, through `batch` where that is said.
fn acts(through: &[&str]) -> Delegation {
    Delegation {
        actor: "orders".into(),
        through: through.iter().map(|it| (*it).to_owned()).collect(),
        targets: vec!["payments".into()],
        ..Delegation::default()
    }
}

#[tokio::test]
async fn whoever_shows_an_actor_token_of_its_own_is_named_as_it_would_be_without() {
    let world = World::new().await;
    let subject = world.shop().await;
    let actor = world.own("orders").await;
    let shown = world.ask("orders", &with_actor(&subject, &actor, "payments")).await.unwrap();
    let said = claims(&shown.access_token);
    assert_eq!((&said["act"], &said["client_id"]), (&json!({"sub": "orders"}), &json!("orders")));
    let header = jws::Compact::parse(&subject).unwrap().header;
    let lineage = json!({
        "jti": [claims(&actor)["jti"]], "client": ["web", "orders"],
        "kid": [header.kid, jws::Compact::parse(&actor).unwrap().header.kid],
        "place": said["lineage"]["place"], "acted": claims(&actor)["iat"],
    });
    assert_eq!(said["lineage"], lineage);
    let unshown = exchange(&subject, &[("audience", "payments")]);
    let unshown = world.ask("orders", &unshown).await.unwrap();
    assert_eq!(claims(&unshown.access_token)["act"], said["act"]);
    assert_eq!(unshown.issued_token_type, Some(ACCESS_TOKEN));
    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    let as_jwt = exchange(&subject, &[("audience", "payments"), ("requested_token_type", jwt)]);
    assert_eq!(world.ask("orders", &as_jwt).await.unwrap().issued_token_type, Some(jwt));
}

#[tokio::test]
async fn nobody_exchanges_with_anothers_actor_token_unless_a_delegation_says_so() {
    let world = World::new().await;
    let subject = world.shop().await;
    let actor = world.own("orders").await;
    let pairs = with_actor(&subject, &actor, "payments");
    assert_eq!(world.refused("batch", &pairs).await, "invalid_target");
    world.declare(acts(&[]));
    assert_eq!(world.refused("batch", &pairs).await, "invalid_target");
    world.declare(acts(&["batch"]));
    let answer = world.ask("batch", &pairs).await.unwrap();
    let said = claims(&answer.access_token);
    assert_eq!((&said["act"], &said["client_id"]), (&json!({"sub": "orders"}), &json!("batch")));
    // At another service, nothing is declared.
    let elsewhere = with_actor(&subject, &actor, "inventory");
    assert_eq!(world.refused("batch", &elsewhere).await, "invalid_target");
    // What was declared a moment ago counts no more.
    world.services.0.lock().unwrap().clear();
    assert_eq!(world.refused("batch", &pairs).await, "invalid_target");
}

#[tokio::test]
async fn neither_who_asks_nor_who_acts_gets_further_through_the_other() {
    let world = World::new().await;
    let subject = world.shop().await;
    let actor = world.own("orders").await;
    // `batch` may not call `vault`, though `orders` may; nobody may call `orders` but `machine`.
    let vault = || Delegation {
        targets: vec!["vault".into(), "orders".into()],
        ..acts(&["batch", "payments"])
    };
    world.declare(vault());
    world.declare(Delegation { actor: "batch".into(), through: vec!["orders".into()], ..vault() });
    let pairs = with_actor(&subject, &actor, "vault");
    assert_eq!(world.refused("batch", &pairs).await, "invalid_target");
    let batch = world.own("batch").await;
    assert_eq!(
        world.refused("orders", &with_actor(&subject, &batch, "vault")).await,
        "invalid_target"
    );
    assert!(world.ask("payments", &pairs).await.is_ok());
    let pairs = with_actor(&subject, &actor, "orders");
    assert_eq!(world.refused("payments", &pairs).await, "invalid_target");
}

#[tokio::test]
async fn an_actor_token_is_looked_at_as_strictly_as_a_subject_token() {
    let world = World::new().await;
    let subject = world.shop().await;
    world.declare(acts(&["batch"]));
    let good = world.own("orders").await;
    let ask = async |actor: &str| {
        let pairs = with_actor(&subject, actor, "payments");
        world.ask("batch", &pairs).await.map(drop).map_err(error)
    };
    assert_eq!(ask(&good).await, Ok(()));
    let persons = world.persons_token().await;
    let derived = exchange(&persons, &[("audience", "payments")]);
    let derived = world.ask("orders", &derived).await.unwrap().access_token;
    let elsewhere = [("grant_type", "client_credentials"), ("audience", "payments")];
    let elsewhere = world.ask("orders", &elsewhere).await.unwrap().access_token;
    let key = world.provider.keys().now().signer(Algorithm::Es256).unwrap();
    let wrong_kind = claims(&good).to_string();
    let sign = |typ: &str| jws::sign(&key, typ, wrong_kind.as_bytes()).unwrap();
    let broken = &good[..good.len() - 4];
    for (actor, why) in [
        (&subject, "the subject token"),
        (&persons, "a person's"),
        (&derived, "one that acts for somebody"),
        (&elsewhere, "for another service"),
        (&sign("tegata-internal+jwt"), "internal"),
        (&sign("txntoken+jwt"), "of a transaction"),
        (&sign("JWT"), "an ID token"),
        (&broken.to_owned(), "broken"),
        (&"x".repeat(9000), "too long"),
    ] {
        assert_eq!(ask(actor).await, Err("invalid_request"), "{why}");
    }
    world.revoke("orders", &good).await;
    assert_eq!(ask(&good).await, Err("invalid_request"));
    let late = world.own("orders").await;
    after(&world.clock, 850);
    let fresh_subject = world.persons_token().await;
    let pairs = with_actor(&fresh_subject, &late, "payments");
    assert_eq!(
        world.ask("batch", &pairs).await.unwrap().expires_in,
        50,
        "no longer than the actor"
    );
    after(&world.clock, 52);
    assert_eq!(world.refused("batch", &pairs).await, "invalid_request");
}

#[tokio::test]
async fn what_is_given_of_an_actor_is_given_whole_and_once() {
    let world = World::new().await;
    let subject = world.shop().await;
    let actor = world.own("orders").await;
    let to = ("audience", "payments");
    let id_token = "urn:ietf:params:oauth:token-type:id_token";
    for more in [
        vec![to, ("actor_token", &*actor)],
        vec![to, ("actor_token_type", ACCESS_TOKEN)],
        vec![to, ("actor_token", &*actor), ("actor_token_type", id_token)],
        vec![to, ("actor_token", &*subject), ("actor_token_type", ACCESS_TOKEN)],
        vec![to, ("subject_token_type", id_token)],
        vec![to, ("subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token")],
        vec![to, ("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")],
        vec![to, ("request_details", "{}")],
    ] {
        assert_eq!(world.refused("orders", &exchange(&subject, &more)).await, "invalid_request");
    }
}

#[tokio::test]
async fn a_token_that_names_who_may_act_is_exchanged_by_that_one_alone() {
    let world = World::new().await;
    world.shop().await;
    let grants = [GrantType::AuthorizationCode];
    let web = world.client("web", &grants, |it| it.may_act = Some("orders".into())).await;
    let code = world.code(&[("scope", "openid payments.write")]).await;
    let subject = world.redeem(&web, &code, &[]).await.unwrap().access_token;
    assert_eq!(claims(&subject)["may_act"], json!({"sub": "orders"}));
    let pairs = exchange(&subject, &[("audience", "payments")]);
    assert_eq!(world.refused("batch", &pairs).await, "invalid_request");
    let derived = world.ask("orders", &pairs).await.unwrap().access_token;
    // Nor is it lost on the way.
    assert_eq!(claims(&derived)["may_act"], json!({"sub": "orders"}));
    let further = exchange(&derived, &[("audience", "inventory")]);
    assert_eq!(world.refused("payments", &further).await, "invalid_request");
    // Whoever brings its token does so for it.
    world.declare(acts(&["batch"]));
    let actor = world.own("orders").await;
    assert!(world.ask("batch", &with_actor(&subject, &actor, "payments")).await.is_ok());
    let actor = world.own("batch").await;
    let pairs = with_actor(&subject, &actor, "payments");
    assert_eq!(world.refused("batch", &pairs).await, "invalid_request");
}

#[tokio::test]
async fn nobody_is_impersonated_unless_a_delegation_says_so_and_then_the_journal_does() {
    let world = World::new().await;
    let subject = world.shop().await;
    let roles = vec!["customer".to_owned()];
    world.declare(Delegation { impersonate: true, roles, ..acts(&[]) });
    let pairs = exchange(&subject, &[("audience", "payments")]);
    let answer = world.ask("orders", &pairs).await.unwrap();
    let said = claims(&answer.access_token);
    assert!(said["act"].is_null());
    let journal = world.records.pull(tegata_core::Log::Journal, 0, 1000).await.unwrap();
    let last: Value = serde_json::from_slice(&journal.entries.last().unwrap().body).unwrap();
    let told = json!({
        "service": "orders", "target": "payments", "jti": said["jti"], "user_id": said["sub"],
        "impersonation": true,
    });
    assert_eq!((&last["type"], &last["data"]), (&json!("TOKEN_ISSUED"), &told));
    // A client that wants to be named is.
    let actor = world.own("orders").await;
    let named = world.ask("orders", &with_actor(&subject, &actor, "payments")).await.unwrap();
    assert_eq!(claims(&named.access_token)["act"], json!({"sub": "orders"}));
    // Whoever acted before must not be taken for the one who calls.
    world
        .client("orders", &[GrantType::TokenExchange], |it| it.audiences = vec!["payments".into()])
        .await;
    let again = exchange(&named.access_token, &[("audience", "payments")]);
    assert_eq!(world.refused("orders", &again).await, "invalid_request");
    // It falls with the client, which it names elsewhere.
    world.take_back("orders").await;
    assert!(!world.is_active(&answer.access_token).await);
}

#[tokio::test]
async fn who_is_refused_one_of_several_services_has_impersonated_nobody() {
    let world = World::new().await;
    let subject = world.shop().await;
    let targets = vec!["payments".into(), "inventory".into()];
    world.declare(Delegation { impersonate: true, targets, ..acts(&[]) });
    let journal = async || world.records.pull(tegata_core::Log::Journal, 0, 1000).await.unwrap();
    let before = journal().await.entries.len();
    // At `vault`, nobody may act for anybody.
    let pairs = exchange(&subject, &[("audience", "payments"), ("audience", "vault")]);
    assert_eq!(world.refused("orders", &pairs).await, "invalid_target");
    assert_eq!(journal().await.entries.len(), before);
    let of_subject = claims(&subject)["jti"].as_str().unwrap().to_owned();
    assert!(world.parts.usage.derived_from(&of_subject).is_empty());
    let pairs = exchange(&subject, &[("audience", "payments"), ("audience", "inventory")]);
    world.ask("orders", &pairs).await.unwrap();
    assert_eq!(journal().await.entries.len(), before + 2);
    assert_eq!(world.parts.usage.derived_from(&of_subject).len(), 2);
}

#[tokio::test]
async fn a_delegation_narrows_whom_what_and_how_deep() {
    let world = World::new().await;
    let subject = world.shop().await;
    let to = |target| exchange(&subject, &[("audience", target)]);
    assert_eq!(world.refused("orders", &to("vault")).await, "invalid_target");
    let vault = Delegation { targets: vec!["vault".into(), "payments".into()], ..acts(&[]) };
    world.declare(Delegation { roles: vec!["admin".into()], ..vault.clone() });
    assert_eq!(world.refused("orders", &to("vault")).await, "invalid_target");
    assert_eq!(world.refused("orders", &to("payments")).await, "invalid_target");
    assert!(world.ask("orders", &to("inventory")).await.is_ok(), "nothing is declared of it");
    let scope = Some(Scope::new("payments.read").unwrap());
    world.declare(Delegation { roles: vec!["customer".into()], scope, ..vault.clone() });
    let narrowed = world.ask("orders", &to("payments")).await.unwrap();
    assert_eq!(narrowed.scope, "", "the subject has payments.write alone");
    world.declare(Delegation { most_actors: Some(1), ..vault });
    assert_eq!(world.ask("orders", &to("payments")).await.unwrap().scope, "payments.write");
}

#[tokio::test]
async fn a_chain_never_gets_wider_longer_lived_or_deeper_than_it_may() {
    let world = World::new().await;
    let subject = world.shop().await;
    let first = exchange(&subject, &[("audience", "payments"), ("scope", "payments.write")]);
    let first = world.ask("orders", &first).await.unwrap();
    after(&world.clock, 100);
    let wide = exchange(
        &first.access_token,
        &[("audience", "inventory"), ("scope", "payments.write orders.read")],
    );
    assert_eq!(world.refused("payments", &wide).await, "invalid_scope");
    let second = exchange(&first.access_token, &[("audience", "inventory")]);
    let second = world.ask("payments", &second).await.unwrap();
    assert_eq!((second.scope.as_str(), second.expires_in), ("", 200));
    let said = claims(&second.access_token);
    assert_eq!(said["act"], json!({"sub": "payments", "act": {"sub": "orders"}}));
    assert_eq!(said["original_jti"], claims(&subject)["jti"]);
    assert_eq!(said["lineage"]["jti"], json!([claims(&first.access_token)["jti"]]));
    assert_eq!(said["lineage"]["client"], json!(["web", "orders"]));
    // A delegation may let a chain be shorter than others.
    let actor = |most| Delegation {
        actor: "payments".into(),
        targets: vec!["inventory".into()],
        most_actors: Some(most),
        ..Delegation::default()
    };
    world.declare(actor(1));
    let again = exchange(&first.access_token, &[("audience", "inventory")]);
    assert_eq!(world.refused("payments", &again).await, "invalid_request");
    world.services.0.lock().unwrap().clear();
    world.declare(actor(9));
    assert!(world.ask("payments", &again).await.is_ok());
}

fn kid(token: &str) -> String {
    jws::Compact::parse(token).unwrap().header.kid.unwrap()
}

#[tokio::test]
async fn a_chain_falls_with_every_token_client_and_key_that_it_was_made_from() {
    let ends: [&str; 8] = ["subject", "first", "second", "actor", "web", "orders", "batch", "key"];
    for end in ends {
        let world = World::new().await;
        let subject = world.shop().await;
        world.declare(acts(&["batch"]));
        let actor = world.own("orders").await;
        let first = with_actor(&subject, &actor, "payments");
        let first = world.ask("batch", &first).await.unwrap().access_token;
        let second = exchange(&first, &[("audience", "inventory")]);
        let second = world.ask("payments", &second).await.unwrap().access_token;
        assert!(world.is_active(&second).await);
        let known = world.parts.usage.of(claims(&second)["jti"].as_str().unwrap()).unwrap();
        let known = known.origin.get().unwrap();
        assert_eq!(known.kid, Some(kid(&second)));
        for of in [&subject, &first, &actor] {
            assert!(known.kids.contains(&kid(of)), "{known:?}");
        }
        match end {
            "subject" => world.revoke("web", &subject).await,
            "first" => world.revoke("batch", &first).await,
            "second" => world.revoke("payments", &second).await,
            "actor" => world.revoke("orders", &actor).await,
            "key" => {
                let kid = kid(&subject).parse().unwrap();
                let order = Order { reason: "stolen".into(), actor: "test".into() };
                let fresh = tegata_token::SigningKey::generate(Algorithm::EdDsa).unwrap();
                world.provider.keys().expel(&kid, Some(&fresh), &order).await.unwrap();
            }
            client => world.take_back(client).await,
        }
        assert!(!world.is_active(&second).await, "{end}");
        assert_eq!(world.is_active(&first).await, end == "second", "{end}");
        let is_gone = ["subject", "web", "key"].contains(&end);
        assert_eq!(world.is_active(&subject).await, !is_gone, "{end}");
    }
}

#[tokio::test]
async fn what_was_taken_back_while_an_exchange_went_on_gives_nothing_that_counts() {
    let world = World::new().await;
    let subject = world.shop().await;
    let pairs = exchange(&subject, &[("audience", "payments")]);
    // Acknowledged before the answer: either there is none, or it is dead.
    let (answer, ()) = tokio::join!(world.ask("orders", &pairs), world.revoke("web", &subject));
    if let Ok(answer) = answer {
        assert!(!world.is_active(&answer.access_token).await);
    }
    assert_eq!(world.refused("orders", &pairs).await, "invalid_request");
    // The client itself was taken back after the subject got its token: it is told, and gets nothing dead.
    let subject = world.persons_token().await;
    world.take_back("orders").await;
    let pairs = exchange(&subject, &[("audience", "payments")]);
    assert_eq!(world.refused("orders", &pairs).await, "invalid_request");
    after(&world.clock, 2);
    let subject = world.persons_token().await;
    let pairs = exchange(&subject, &[("audience", "payments")]);
    assert!(world.ask("orders", &pairs).await.is_ok());
}

#[tokio::test]
async fn a_token_of_another_client_for_a_service_that_one_calls_is_not_ones_own() {
    let world = World::new().await;
    world.client("machine", &[GrantType::ClientCredentials], |_| {}).await;
    let grants = [GrantType::TokenExchange, GrantType::ClientCredentials];
    let audiences = vec!["orders".to_owned()];
    world.client("batch", &grants, |it| it.audiences = audiences).await;
    let pairs = [("grant_type", "client_credentials"), ("audience", "orders")];
    let others = world.ask("machine", &pairs).await.unwrap().access_token;
    let deputy = exchange(&others, &[("audience", "payments")]);
    assert_eq!(world.refused("batch", &deputy).await, "invalid_request");
    let own = world.ask("batch", &pairs).await.unwrap().access_token;
    assert!(world.ask("batch", &exchange(&own, &[("audience", "payments")])).await.is_ok());
}
