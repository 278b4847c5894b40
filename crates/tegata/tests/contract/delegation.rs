//! Who acts for whom, as clients and operators meet it: declared, exchanged with, attacked, taken back;
//! and transaction tokens.

use std::{sync::Barrier, thread};

use serde_json::{Value, json};

use super::{
    browser::{Browser, as_client, ask_token},
    demo::{Client, demo, unique},
    http::Answer,
    jwt::unverified,
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";
const TXN_TOKEN: &str = "urn:ietf:params:oauth:token-type:txn_token";

/// A service of a test alone, two clients that may call it, and what is declared of them.
struct Ledger {
    service: String,
    front: Client,
    agent: Client,
    delegation: String,
}

impl Ledger {
    /// One at which `front` acts for customers, also through `agent`.
    fn new() -> Self {
        let grants = ["--grant-type", &format!("client_credentials,{EXCHANGE}")];
        let ledger = Self {
            service: unique("ledger"),
            front: demo().new_client(&grants),
            agent: demo().new_client(&grants),
            delegation: unique("delegation"),
        };
        assert_eq!(ledger.apply(&ledger.declared()).len(), 3);
        ledger
    }

    fn declared(&self) -> Value {
        json!({
            "service": [{
                "name": self.service, "upstreams": ["http://127.0.0.1:9"],
                "callers": [self.front.id, self.agent.id], "delegation": "declared",
            }],
            "delegation": [
                {
                    "name": self.delegation, "actor": self.front.id, "through": [self.agent.id],
                    "targets": [self.service], "roles": ["customer"],
                },
                {
                    "name": format!("{}-t", self.delegation), "actor": self.front.id,
                    "transactions": true,
                },
            ],
        })
    }

    fn apply(&self, declared: &Value) -> Vec<Value> {
        let file = demo().file(&declared.to_string());
        let json = format!("{file}.json");
        std::fs::rename(&file, &json).unwrap();
        demo().command(&["apply", &json])["changed"].as_array().unwrap().clone()
    }

    fn own(client: &Client) -> String {
        let answer = ask_token(demo(), client, &[("grant_type", "client_credentials")]);
        answer.expect(200).json()["access_token"].as_str().unwrap().to_owned()
    }

    /// `agent` exchanges the token of a person, with what `front` showed it.
    fn acted(&self, subject: &str, actor: &str) -> Answer {
        let to = self.service.as_str();
        let more = [("actor_token", actor), ("actor_token_type", ACCESS_TOKEN), ("audience", to)];
        exchange(&self.agent, subject, &more)
    }
}

fn exchange(client: &Client, subject: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![
        ("grant_type", EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    fields.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    fields.extend(more);
    ask_token(demo(), client, &fields)
}

fn somebodys() -> String {
    let (_, answer) = Browser::signed_in(demo().public, &demo().person("customer"));
    answer["access_token"].as_str().unwrap().to_owned()
}

fn token(answer: Answer) -> String {
    answer.expect(200).json()["access_token"].as_str().unwrap().to_owned()
}

fn error(answer: Answer) -> String {
    answer.expect(400).json()["error"].as_str().unwrap().to_owned()
}

fn is_active(token: &str, hint: &str) -> bool {
    let fields = [("token", token), ("token_type_hint", hint)];
    let ask = demo().public.post("/oauth2/introspect");
    let answer = as_client(ask, &demo().client("demo-service"), &fields).send().expect(200).json();
    answer["active"] == true
}

fn revoke(client: &Client, token: &str) {
    let ask = demo().public.post("/oauth2/revoke");
    as_client(ask, client, &[("token", token)]).send().expect(200);
}

#[test]
fn what_is_declared_counts_at_once_and_is_declared_once() {
    let ledger = Ledger::new();
    let (subject, actor) = (somebodys(), Ledger::own(&ledger.front));
    let acted = token(ledger.acted(&subject, &actor));
    let said = unverified(&acted).claims;
    assert_eq!(said["act"], json!({"sub": ledger.front.id}));
    assert_eq!(said["client_id"], ledger.agent.id);
    assert!(ledger.apply(&ledger.declared()).is_empty());
    let listed = demo().command(&["delegation", "list"]);
    let listed = listed.as_array().unwrap().iter().find(|it| it["name"] == ledger.delegation);
    assert_eq!(listed.unwrap()["through"], json!([ledger.agent.id]));
    let admin = demo().person("admin");
    let (_, admins) = Browser::signed_in(demo().public, &admin);
    let admins = admins["access_token"].as_str().unwrap();
    assert_eq!(error(ledger.acted(admins, &actor)), "invalid_target");
    let mut narrower = ledger.declared();
    narrower["delegation"][0]["roles"] = json!(["admin"]);
    assert_eq!(ledger.apply(&narrower).len(), 1);
    assert_eq!(error(ledger.acted(&subject, &actor)), "invalid_target");
    token(ledger.acted(admins, &actor));
    demo().command(&["delegation", "remove", &ledger.delegation]);
    assert_eq!(error(ledger.acted(admins, &actor)), "invalid_target");
    let gone = demo().refused(&["delegation", "remove", &ledger.delegation], 1);
    assert!(gone.contains("tegata delegation list"), "{gone}");
}

/// Whoever registers a client of the same name acts by nothing that its predecessor acted by.
#[test]
fn a_client_that_is_removed_takes_the_delegations_with_it_by_which_it_acts() {
    let named = |delegation: &str| {
        let listed = demo().command(&["delegation", "list"]);
        listed.as_array().unwrap().iter().find(|it| it["name"] == delegation).cloned()
    };
    let ledger = Ledger::new();
    // Through which others act: the delegation stays, and its actor acts alone.
    let told = demo().command(&["client", "remove", &ledger.agent.id]);
    assert!(told.get("delegations").is_none(), "{told}");
    assert_eq!(named(&ledger.delegation).unwrap()["through"], json!([]));
    // Who acts: it ends.
    let told = demo().command(&["client", "remove", &ledger.front.id]);
    let transactions = format!("{}-t", ledger.delegation);
    assert_eq!(told["delegations"], json!([ledger.delegation, transactions]));
    assert!(named(&ledger.delegation).is_none() && named(&transactions).is_none());
    // For whom others act: nobody else is acted for instead.
    let other = Ledger::new();
    let mut declared = other.declared();
    declared["delegation"][0]["roles"] = json!([]);
    declared["delegation"][0]["clients"] = json!([other.agent.id]);
    other.apply(&declared);
    demo().command(&["client", "remove", &other.agent.id]);
    assert_eq!(named(&other.delegation).unwrap()["clients"], json!([other.agent.id]));
    let own = Ledger::own(&other.front);
    let to = [("audience", other.service.as_str())];
    assert_eq!(error(exchange(&other.front, &somebodys(), &to)), "invalid_target");
    assert_eq!(error(exchange(&other.front, &own, &to)), "invalid_target");
}

#[test]
fn a_declaration_that_could_not_count_is_refused_with_what_to_mend() {
    let ledger = Ledger::new();
    for (change, word) in [
        (json!({"actor": "nobody-calls"}), "`callers`"),
        (json!({"targets": ["nowhere"]}), "no service"),
        (json!({"targets": []}), "`targets`"),
        (json!({"impersonate": true}), "`through`"),
        (json!({"impersonate": true, "roles": []}), "`roles`"),
        (json!({"max_depth": 0}), "max_depth"),
        (json!({"target": "x"}), "`target`"),
    ] {
        let mut declared = ledger.declared();
        let rule = declared["delegation"][0].as_object_mut().unwrap();
        rule.extend(change.as_object().unwrap().clone());
        let file = demo().file(&declared.to_string());
        std::fs::rename(&file, format!("{file}.json")).unwrap();
        let output = demo().run(&["apply", &format!("{file}.json")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(word), "{change}: {said}");
    }
    // Nor does a service stop naming those who act at it.
    let mut declared = ledger.declared();
    declared["service"][0]["callers"] = json!([ledger.agent.id]);
    declared.as_object_mut().unwrap().remove("delegation");
    let file = demo().file(&declared.to_string());
    std::fs::rename(&file, format!("{file}.json")).unwrap();
    let said = demo().refused(&["apply", &format!("{file}.json")], 1);
    assert!(said.contains(&ledger.delegation), "{said}");
    // A service that is removed is acted at by nobody, and takes what named it alone along.
    demo().command(&["service", "remove", &ledger.service]);
    let listed = demo().command(&["delegation", "list"]).to_string();
    assert!(!listed.contains(&format!("\"{}\"", ledger.delegation)), "{listed}");
}

#[test]
fn whatever_is_wrong_with_an_exchange_gives_an_error_and_no_token() {
    let ledger = Ledger::new();
    let subject = somebodys();
    let actor = Ledger::own(&ledger.front);
    let good = ledger.acted(&subject, &actor);
    let derived = token(good);
    let to = ("audience", ledger.service.as_str());
    let as_actor = |token: &'_ str| [("actor_token", token.to_owned())];
    // Tokens that are no actor's.
    let agents_own = Ledger::own(&ledger.agent);
    let broken = format!("{}AAAA", &actor[..actor.len() - 4]);
    let long = format!("a.{}.b", "A".repeat(20_000));
    for bad in [&subject, &derived, &broken, &long, "", "a.b.c", "rt_1.1.1.a.0.AA"] {
        let [(name, value)] = as_actor(bad);
        let more = [(name, value.as_str()), ("actor_token_type", ACCESS_TOKEN), to];
        assert_eq!(error(exchange(&ledger.agent, &subject, &more)), "invalid_request", "{bad:.40}");
    }
    // A stranger with everybody's tokens, and the agent in nobody's name but its own.
    let stranger = Ledger::new();
    let more = [("actor_token", actor.as_str()), ("actor_token_type", ACCESS_TOKEN), to];
    assert_eq!(error(exchange(&stranger.agent, &subject, &more)), "invalid_target");
    assert_eq!(error(exchange(&ledger.agent, &subject, &[to])), "invalid_target");
    let more = [("actor_token", agents_own.as_str()), ("actor_token_type", ACCESS_TOKEN), to];
    assert_eq!(error(exchange(&ledger.agent, &subject, &more)), "invalid_target");
    // A derived token is for the service alone: not for whoever finds it.
    assert_eq!(error(exchange(&ledger.front, &derived, &[to])), "invalid_request");
    let wider = [to, ("scope", "openid admin")];
    assert_eq!(error(exchange(&ledger.front, &subject, &wider)), "invalid_scope");
    for kind in [ID_TOKEN, REFRESH_TOKEN, "urn:ietf:params:oauth:token-type:saml2", "x"] {
        let more = [to, ("subject_token_type", kind)];
        assert_eq!(error(exchange(&ledger.front, &subject, &more)), "invalid_request", "{kind}");
    }
    for twice in ["actor_token", "actor_token_type", "subject_token", "requested_token_type"] {
        let more = [to, (twice, "a"), (twice, "a")];
        let fields = [("grant_type", EXCHANGE), ("subject_token_type", ACCESS_TOKEN)];
        let answer = ask_token(demo(), &ledger.front, &[&fields[..], &more[..]].concat());
        assert_eq!(error(answer), "invalid_request", "{twice}");
    }
}

#[test]
fn what_somebody_made_up_about_actors_is_not_believed() {
    let ledger = Ledger::new();
    let subject = somebodys();
    let to = ("audience", ledger.service.as_str());
    let parts: Vec<&str> = subject.split('.').collect();
    let mut said = unverified(&subject).claims;
    let mut deep = json!({"sub": "orders"});
    for _ in 0..60 {
        deep = json!({"sub": "orders", "act": deep});
    }
    let endless = format!("{}{}", r#"{"act":"#.repeat(10_000), "}".repeat(10_000));
    said["act"] = json!({"sub": ledger.front.id});
    let forged = said.to_string();
    said["act"] = deep;
    for claims in [forged, said.to_string(), endless] {
        let encoded = {
            use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
            URL_SAFE_NO_PAD.encode(claims)
        };
        let made_up = format!("{}.{encoded}.{}", parts[0], parts[2]);
        let answer = exchange(&ledger.front, &made_up, &[to]);
        assert!([400, 413].contains(&answer.status), "{}", answer.status);
        let answer = ledger.acted(&subject, &made_up);
        assert!([400, 413].contains(&answer.status), "{}", answer.status);
    }
}

#[test]
fn what_acts_dies_with_whom_it_acts_for_and_with_who_acts() {
    let ends: [fn(&Ledger, &str, &str); 4] = [
        |_, subject, _| drop(demo().command(&["revoke", "--token", subject, "--reason", "test"])),
        |ledger, _, actor| revoke(&ledger.front, actor),
        |ledger, _, _| {
            demo().command(&["revoke", "--client", &ledger.front.id, "--reason", "test"]);
        },
        |ledger, _, _| drop(demo().command(&["client", "remove", &ledger.agent.id])),
    ];
    for end in ends {
        let ledger = Ledger::new();
        let (subject, actor) = (somebodys(), Ledger::own(&ledger.front));
        let acted = token(ledger.acted(&subject, &actor));
        assert!(is_active(&acted, "access_token"));
        end(&ledger, &subject, &actor);
        assert!(!is_active(&acted, "access_token"));
    }
}

#[test]
fn an_exchange_that_races_with_a_revocation_gives_nothing_that_counts_after_it() {
    const EXCHANGES: usize = 8;
    let ledger = Ledger::new();
    let (subject, actor) = (somebodys(), Ledger::own(&ledger.front));
    let together = Barrier::new(EXCHANGES + 1);
    let given: Vec<String> = thread::scope(|scope| {
        let asking: Vec<_> = (0..EXCHANGES)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    let answer = ledger.acted(&subject, &actor);
                    (answer.status == 200).then(|| token(answer))
                })
            })
            .collect();
        together.wait();
        revoke(&ledger.front, &actor);
        assert_eq!(error(ledger.acted(&subject, &actor)), "invalid_request");
        asking.into_iter().filter_map(|asking| asking.join().unwrap()).collect()
    });
    for token in given {
        assert!(!is_active(&token, "access_token"));
    }
}

#[test]
fn a_transaction_token_is_of_no_use_as_a_credential() {
    let ledger = Ledger::new();
    let subject = somebodys();
    let scope = unverified(&subject).claims["scope"].as_str().unwrap().to_owned();
    let first = scope.split(' ').next().unwrap();
    let asked = [
        ("requested_token_type", TXN_TOKEN),
        ("audience", "localhost"),
        ("scope", first),
        ("request_details", r#"{"order":"ord_1"}"#),
    ];
    let answer = exchange(&ledger.front, &subject, &asked).expect(200).json();
    assert_eq!(
        (&answer["token_type"], &answer["issued_token_type"]),
        (&json!("N_A"), &json!(TXN_TOKEN))
    );
    assert!(answer["expires_in"].as_u64().unwrap() <= 60 && answer["refresh_token"].is_null());
    let txn = answer["access_token"].as_str().unwrap();
    let said = unverified(txn);
    assert_eq!(
        (&said.header["typ"], &said.claims["aud"]),
        (&json!("txntoken+jwt"), &json!("localhost"))
    );
    assert_eq!(said.claims["req_wl"], ledger.front.id);
    assert_eq!(said.claims["tctx"], json!({"order": "ord_1"}));
    let protected = demo().described["protected_path"].as_str().unwrap();
    demo().gateway.get(protected).bearer(txn).send().expect(401);
    demo().gateway.get(protected).field("Txn-Token", txn).send().expect(401);
    demo().gateway.get(protected).field("X-Internal-Token", txn).send().expect(401);
    demo().public.get("/oauth2/userinfo").bearer(txn).send().expect(401);
    assert!(!is_active(txn, "access_token") && is_active(txn, TXN_TOKEN));
    // Nor does what a client claims to be one reach a service.
    let echoed = demo().gateway.get("/public/echo").field("Txn-Token", txn).send().expect(200);
    assert!(!echoed.text().to_lowercase().contains("txn-token"));
    let as_subject = [("subject_token_type", TXN_TOKEN), ("audience", ledger.service.as_str())];
    assert_eq!(error(exchange(&ledger.front, txn, &as_subject)), "invalid_request");
    let as_access = [("audience", ledger.service.as_str())];
    assert_eq!(error(exchange(&ledger.front, txn, &as_access)), "invalid_request");
    assert_eq!(error(ledger.acted(&subject, txn)), "invalid_request");
    // Whoever has no delegation has none; `orders` has one in every demo.
    assert_eq!(error(exchange(&ledger.agent, &subject, &asked)), "invalid_target");
    token(exchange(&demo().client("orders"), &subject, &asked));
    revoke(&ledger.front, txn);
    assert!(!is_active(txn, TXN_TOKEN));
}
