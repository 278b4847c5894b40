//! Transaction tokens: what they say, that nothing takes them for a credential, and what they fall with.

use serde_json::{Value, json};
use tegata_oauth::{Credential, Delegation, GrantType, Proven, Refused, Sees, TokenAnswer};
use tegata_token::{Order, Scope, jws::Compact};

use super::world::{World, after, claims, error, params, place};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const TXN_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";
const DOMAIN: &str = "shop.example";

type Pairs<'a> = Vec<(&'a str, &'a str)>;
type Few<'a> = &'a [(&'a str, &'a str)];

struct Bench {
    world: World,
    subject: String,
}

impl Bench {
    /// A person's token, and three services of which two may have transaction tokens.
    async fn new() -> Self {
        let world = World::new().await;
        for name in ["orders", "payments", "batch"] {
            let grants = [GrantType::TokenExchange, GrantType::ClientCredentials];
            world.client(name, &grants, |_| {}).await;
        }
        for actor in ["orders", "payments"] {
            let delegation =
                Delegation { actor: actor.into(), transactions: true, ..Delegation::default() };
            world.services.0.lock().unwrap().push(delegation);
        }
        let web = world.web().await;
        let code = world.code(&[("scope", "openid orders.read payments.write")]).await;
        let subject = world.redeem(&web, &code, &[]).await.unwrap().access_token;
        Self { world, subject }
    }

    async fn ask(&self, client: &str, pairs: &[(&str, &str)]) -> Result<TokenAnswer, Refused> {
        let client = self.world.named(client).await;
        self.world.provider.token(&client, &params(pairs), &place(), Proven::by(None)).await
    }

    async fn begun(&self) -> String {
        self.ask("orders", &new(&self.subject, &[])).await.unwrap().access_token
    }

    async fn refused(&self, client: &str, pairs: &[(&str, &str)]) -> &'static str {
        error(self.ask(client, pairs).await.unwrap_err())
    }

    /// What introspection says of a token that it is told the kind of, or not.
    async fn told(&self, token: &str, hint: Option<&str>) -> Value {
        let grants = [GrantType::ClientCredentials];
        let asking = self.world.client("inspector", &grants, |it| it.may_introspect = true).await;
        let mut pairs = vec![("token", token)];
        pairs.extend(hint.map(|hint| ("token_type_hint", hint)));
        self.world.provider.introspect(&asking, &params(&pairs)).await.unwrap()
    }

    async fn is_active(&self, token: &str) -> bool {
        self.told(token, Some(TXN_TOKEN)).await["active"] == true
    }
}

fn new<'a>(subject: &'a str, more: &[(&'a str, &'a str)]) -> Pairs<'a> {
    let mut all = vec![
        ("grant_type", EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
        ("requested_token_type", TXN_TOKEN),
        ("audience", DOMAIN),
        ("scope", "payments.write"),
    ];
    all.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    all.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    all
}

fn replaced<'a>(token: &'a str, more: &[(&'a str, &'a str)]) -> Pairs<'a> {
    let mut all = vec![("subject_token_type", TXN_TOKEN)];
    all.extend(more);
    new(token, &all)
}

#[tokio::test]
async fn a_transaction_token_says_what_for_for_whom_and_who_asked() {
    let bench = Bench::new().await;
    after(&bench.world.clock, 30);
    let contexts = [
        ("request_details", r#"{"order":"ord_1","total":{"amount":"9.90","currency":"EUR"}}"#),
        ("request_context", r#"{"req_ip":"192.0.2.7","authn":"urn:ietf:rfc:6749"}"#),
    ];
    let answer = bench.ask("orders", &new(&bench.subject, &contexts)).await.unwrap();
    assert_eq!((answer.token_type, answer.issued_token_type), ("N_A", Some(TXN_TOKEN)));
    assert!(answer.refresh_token.is_none() && answer.expires_in == 60);
    let header = Compact::parse(&answer.access_token).unwrap().header;
    assert_eq!(header.typ.as_deref(), Some("txntoken+jwt"));
    let (said, origin) = (claims(&answer.access_token), claims(&bench.subject));
    let now = bench.world.node.now().secs();
    assert_eq!((&said["aud"], &said["sub"]), (&json!(DOMAIN), &origin["sub"]));
    assert_eq!((&said["iat"], &said["exp"]), (&json!(now), &json!(now + 60)));
    assert_eq!((&said["scope"], &said["req_wl"]), (&json!("payments.write"), &json!("orders")));
    assert_eq!(said["tctx"]["total"]["amount"], "9.90");
    assert_eq!(said["rctx"]["req_ip"], "192.0.2.7");
    assert!(said["txn"].as_str().unwrap().len() > 16 && said["txn"] != said["jti"]);
    for kept in ["sid", "fid", "status"] {
        assert_eq!(said[kept], origin[kept], "{kept}");
    }
    assert_eq!(said["lineage"]["iat"], origin["iat"]);
    // Nobody finds the access token in it.
    assert!(!said.to_string().contains(&bench.subject[..40]));
}

#[tokio::test]
async fn a_replacement_keeps_the_transaction_adds_who_asked_and_widens_nothing() {
    let bench = Bench::new().await;
    let details = [("request_details", r#"{"order":"ord_1"}"#)];
    let both = [details[0], ("scope", "orders.read payments.write")];
    let first = bench.ask("orders", &new(&bench.subject, &both)).await.unwrap().access_token;
    after(&bench.world.clock, 20);
    let second = bench.ask("payments", &replaced(&first, &[])).await.unwrap();
    let (before, said) = (claims(&first), claims(&second.access_token));
    for kept in ["txn", "sub", "aud", "tctx", "exp", "original_jti"] {
        assert_eq!(said[kept], before[kept], "{kept}");
    }
    assert_eq!((&said["req_wl"], second.expires_in), (&json!("orders,payments"), 40));
    assert_eq!(said["scope"], "payments.write");
    assert_eq!(said["lineage"]["client"], json!(["web", "orders"]));
    // What it has not, it does not get back.
    let back = replaced(&second.access_token, &[("scope", "orders.read")]);
    assert_eq!(bench.refused("orders", &back).await, "invalid_scope");
    for more in [details[0], ("request_context", "{}")] {
        let changed = replaced(&first, &[more]);
        assert_eq!(bench.refused("payments", &changed).await, "invalid_request", "{more:?}");
    }
    assert_eq!(bench.refused("batch", &replaced(&first, &[])).await, "invalid_target");
    let mut longest = first.clone();
    for client in ["payments", "orders", "payments"] {
        longest = bench.ask(client, &replaced(&longest, &[])).await.unwrap().access_token;
    }
    assert_eq!(bench.refused("orders", &replaced(&longest, &[])).await, "invalid_request");
    after(&bench.world.clock, 42);
    assert_eq!(bench.refused("payments", &replaced(&first, &[])).await, "invalid_request");
}

#[tokio::test]
async fn no_service_begins_a_transaction_with_a_scope_that_it_was_not_told() {
    let bench = Bench::new().await;
    let to_payments = [
        ("grant_type", EXCHANGE),
        ("subject_token", bench.subject.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("audience", "payments"),
    ];
    let whole = bench.ask("orders", &to_payments).await.unwrap().access_token;
    let begun = bench.ask("payments", &new(&whole, &[])).await.unwrap();
    assert_eq!(begun.scope, "payments.write");
    let sees = Sees { scope: Some(Scope::new("payments.read").unwrap()), ..Sees::default() };
    bench.world.services.1.lock().unwrap().insert("payments".to_owned(), sees);
    let narrow = bench.ask("orders", &to_payments).await.unwrap().access_token;
    assert_eq!(bench.refused("payments", &new(&narrow, &[])).await, "invalid_scope");
}

#[tokio::test]
async fn a_transaction_token_is_nobodys_credential() {
    let bench = Bench::new().await;
    let txn = bench.begun().await;
    let to_payments = |kind: &'static str| {
        vec![
            ("grant_type", EXCHANGE),
            ("subject_token", &*txn),
            ("subject_token_type", kind),
            ("audience", "payments"),
        ]
    };
    for kind in [ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt", TXN_TOKEN] {
        assert_eq!(bench.refused("orders", &to_payments(kind)).await, "invalid_request", "{kind}");
    }
    let mut as_actor =
        new(&bench.subject, &[("audience", "payments"), ("requested_token_type", "")]);
    as_actor.extend([("actor_token", &*txn), ("actor_token_type", ACCESS_TOKEN)]);
    assert_eq!(bench.refused("orders", &as_actor).await, "invalid_request");
    assert!(bench.world.provider.userinfo(&Credential::Bearer(&txn)).await.is_err());
    // Whoever does not say that it asks about one is not told that it is active.
    for hint in [None, Some("access_token"), Some("refresh_token")] {
        assert_eq!(bench.told(&txn, hint).await, json!({"active": false}), "{hint:?}");
    }
    let told = bench.told(&txn, Some(TXN_TOKEN)).await;
    assert_eq!((&told["active"], &told["token_type"]), (&json!(true), &json!("N_A")));
    assert_eq!(
        (&told["issued_token_type"], &told["req_wl"]),
        (&json!(TXN_TOKEN), &json!("orders"))
    );
    let access = bench.told(&bench.subject, Some(TXN_TOKEN)).await;
    assert_eq!(access, json!({"active": false}));
    // An access token is no transaction token either.
    let swapped = replaced(&bench.subject, &[]);
    assert_eq!(bench.refused("orders", &swapped).await, "invalid_request");
}

#[tokio::test]
async fn what_is_asked_for_must_be_what_a_transaction_token_can_be() {
    let bench = Bench::new().await;
    let subject = &bench.subject;
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(3000));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(20), "]".repeat(20));
    let cases: [(&str, Few<'_>, &str); 12] = [
        ("orders", &[("scope", "")], "invalid_request"),
        ("orders", &[("scope", "admin")], "invalid_scope"),
        ("orders", &[("audience", "")], "invalid_request"),
        ("orders", &[("audience", "payments")], "invalid_target"),
        ("orders", &[("audience", "bank.example")], "invalid_target"),
        ("orders", &[("resource", "payments")], "invalid_target"),
        ("orders", &[("request_details", "[]")], "invalid_request"),
        ("orders", &[("request_details", r#"{"a":1,"a":2}"#)], "invalid_request"),
        ("orders", &[("request_details", &long)], "invalid_request"),
        ("orders", &[("request_context", &deep)], "invalid_request"),
        (
            "orders",
            &[("actor_token", subject), ("actor_token_type", ACCESS_TOKEN)],
            "invalid_request",
        ),
        ("batch", &[], "invalid_target"),
    ];
    for (client, more, expected) in cases {
        assert_eq!(bench.refused(client, &new(subject, more)).await, expected, "{more:?}");
    }
    let narrow = Delegation {
        actor: "batch".into(),
        transactions: true,
        scope: Some(Scope::new("orders.read").unwrap()),
        roles: vec!["customer".into()],
        ..Delegation::default()
    };
    bench.world.services.0.lock().unwrap().push(narrow);
    assert_eq!(bench.refused("batch", &new(subject, &[])).await, "invalid_scope");
    assert!(bench.ask("batch", &new(subject, &[("scope", "orders.read")])).await.is_ok());
}

#[tokio::test]
async fn a_workload_begins_a_transaction_of_its_own_with_its_own_token() {
    let bench = Bench::new().await;
    let own = bench.ask("orders", &[("grant_type", "client_credentials")]).await.unwrap();
    let txn = bench.ask("orders", &new(&own.access_token, &[])).await.unwrap();
    let said = claims(&txn.access_token);
    assert_eq!((&said["sub"], &said["req_wl"]), (&json!("orders"), &json!("orders")));
}

#[tokio::test]
async fn a_transaction_falls_with_everything_it_came_from() {
    for end in ["subject", "first", "orders", "payments", "web", "person"] {
        let bench = Bench::new().await;
        let first = bench.begun().await;
        let second = bench.ask("payments", &replaced(&first, &[])).await.unwrap().access_token;
        assert!(bench.is_active(&second).await);
        let (world, realm) = (&bench.world, bench.world.provider.realm());
        let order = Order { reason: "stolen".into(), actor: "test".into() };
        let revoke = async |by: &str, token: &str| {
            let client = world.provider.clients().load(realm, &by.parse().unwrap()).await.unwrap();
            let token = params(&[("token", token)]);
            world.provider.revoke(&client.unwrap().value, &token).await.unwrap();
        };
        match end {
            "subject" => revoke("web", &bench.subject).await,
            "first" => revoke("orders", &first).await,
            "person" => {
                let fid = claims(&bench.subject)["fid"].as_str().unwrap().parse().unwrap();
                world.provider.families().revoke(realm, &fid, &order).await.unwrap();
            }
            client => {
                world.provider.take_back_client(&client.parse().unwrap(), &order).await.unwrap();
            }
        }
        assert!(!bench.is_active(&second).await, "{end}");
        assert_eq!(bench.is_active(&first).await, end == "payments", "{end}");
    }
}

#[tokio::test]
async fn an_operator_takes_a_transaction_token_back_by_its_text() {
    let bench = Bench::new().await;
    let (first, provider) = (bench.begun().await, &bench.world.provider);
    let order = Order { reason: "stolen".into(), actor: "test".into() };
    let (jti, _) = provider.revoke_token(&first, &order).await.unwrap();
    assert_eq!(claims(&first)["jti"], jti);
    assert!(!bench.is_active(&first).await);
    // What is neither an access token nor one of these is not said to be taken back.
    let id_token = {
        let web = bench.world.web().await;
        let code = bench.world.code(&[]).await;
        bench.world.redeem(&web, &code, &[]).await.unwrap().id_token.unwrap()
    };
    for other in [id_token.as_str(), "x", &first[..first.len() - 4]] {
        let refused = provider.revoke_token(other, &order).await.unwrap_err();
        assert_eq!(error(refused), "invalid_request");
    }
}

#[tokio::test]
async fn who_was_taken_back_since_the_origin_was_issued_is_told_and_gets_nothing_dead() {
    let bench = Bench::new().await;
    let first = bench.begun().await;
    let order = Order { reason: "stolen".into(), actor: "test".into() };
    let take_back = async |client: &str| {
        let id = client.parse().unwrap();
        bench.world.provider.take_back_client(&id, &order).await.unwrap();
    };
    take_back("payments").await;
    assert_eq!(bench.refused("payments", &replaced(&first, &[])).await, "invalid_request");
    take_back("orders").await;
    assert_eq!(bench.refused("orders", &new(&bench.subject, &[])).await, "invalid_request");
    let of_subject = claims(&bench.subject)["jti"].as_str().unwrap().to_owned();
    let made = bench.world.parts.usage.derived_from(&of_subject);
    assert_eq!(made.len(), 1, "only what was given is noted");
}
