//! Tokens that are bound to a key, and those who would like to have them without it (RFC 9449 §11).

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tegata_core::Timestamp;
use tegata_oauth::{ClientMetadata, DpopNonce, GrantType};
use tegata_token::{Algorithm, DpopNonces, SigningKey, dpop};

use super::{
    bench::{Bench, CALLBACK, ISSUER},
    browser::{Answer, Browser, encoded},
    flow::{authorize, basic, claims, code, redeeming},
};

/// Somebody with a key.
pub(crate) struct Holder {
    key: SigningKey,
    made: std::cell::Cell<u32>,
}

impl Holder {
    pub(crate) fn new() -> Self {
        Self { key: SigningKey::generate(Algorithm::Es256).unwrap(), made: std::cell::Cell::new(0) }
    }

    pub(crate) fn jkt(&self) -> String {
        self.key.jwk().thumbprint()
    }

    /// What a proof for the token endpoint says, each time under another name.
    fn claims(&self, bench: &Bench) -> Value {
        self.made.set(self.made.get() + 1);
        json!({
            "jti": format!("proof-{}", self.made.get()),
            "htm": "POST",
            "htu": format!("{ISSUER}/oauth2/token"),
            "iat": bench.node.now().secs(),
        })
    }

    fn proof(&self, bench: &Bench) -> String {
        self.proof_with(bench, &[])
    }

    fn proof_with(&self, bench: &Bench, changes: &[(&str, Value)]) -> String {
        let mut claims = self.claims(bench);
        for (name, value) in changes {
            claims[*name] = value.clone();
        }
        dpop::make(&self.key, claims.to_string().as_bytes()).unwrap()
    }

    /// A proof for userinfo, beside this token.
    pub(crate) fn proof_of(&self, bench: &Bench, token: &str, changes: &[(&str, Value)]) -> String {
        let mut all = vec![
            ("htm", json!("GET")),
            ("htu", json!(format!("{ISSUER}/oauth2/userinfo"))),
            ("ath", json!(dpop::hash_of(token))),
        ];
        all.extend_from_slice(changes);
        self.proof_with(bench, &all)
    }

    /// A proof with another header.
    fn proof_under(&self, bench: &Bench, change: impl FnOnce(&mut Value)) -> String {
        let good = self.proof(bench);
        let (header, rest) = good.split_once('.').unwrap();
        let (claims, _) = rest.split_once('.').unwrap();
        let header = URL_SAFE_NO_PAD.decode(header).unwrap();
        let mut header: Value = serde_json::from_slice(&header).unwrap();
        change(&mut header);
        let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{signature}")
    }
}

/// A token request with these proofs. A client that is not public shows its secret.
async fn token(bench: &Bench, client: &str, fields: &[(&str, &str)], proofs: &[&str]) -> Answer {
    Answer::of(&bench.router, token_request(client, fields, proofs)).await
}

fn token_request(client: &str, fields: &[(&str, &str)], proofs: &[&str]) -> Request<Body> {
    let mut request = Request::post("/oauth2/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let mut fields = fields.to_vec();
    if client == "spa" {
        fields.push(("client_id", client));
    } else {
        request = request.header(header::AUTHORIZATION, basic(client));
    }
    for proof in proofs {
        request = request.header("DPoP", *proof);
    }
    request.body(Body::from(encoded(&fields))).unwrap()
}

/// Asks userinfo with this credential.
async fn userinfo(bench: &Bench, credential: &str, proofs: &[&str]) -> Answer {
    let mut request = Request::get("/oauth2/userinfo").header(header::AUTHORIZATION, credential);
    for proof in proofs {
        request = request.header("DPoP", *proof);
    }
    Answer::of(&bench.router, request.body(Body::empty()).unwrap()).await
}

fn error(answer: &Answer) -> String {
    answer.json()["error"].as_str().unwrap_or_default().to_owned()
}

/// A code of a client, bound to the key where one is given.
async fn a_code(bench: &Bench, client: &str, jkt: Option<&str>) -> String {
    let mut browser = Browser::new(bench);
    let named = jkt.map(|jkt| ("dpop_jkt", jkt));
    let changes: Vec<_> = [("client_id", client)].into_iter().chain(named).collect();
    code(&mut browser, &authorize(&changes)).await
}

/// Tokens of the public client, bound to the holder's key.
async fn bound(bench: &Bench, holder: &Holder) -> Value {
    let code = a_code(bench, "spa", None).await;
    let answer = token(bench, "spa", &redeeming(&code), &[&holder.proof(bench)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.json()
}

fn text(tokens: &Value, name: &str) -> String {
    tokens[name].as_str().unwrap().to_owned()
}

/// A nonce that counts elsewhere.
fn of_another_installation(now: Timestamp) -> String {
    DpopNonces::under(&[9; 32].into()).current(now)
}

const SERVICE: [(&str, &str); 1] = [("grant_type", "client_credentials")];

#[tokio::test]
async fn tokens_of_a_public_client_are_bound_and_so_is_its_refresh_token() {
    let bench = Bench::new().await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let tokens = bound(&bench, &holder).await;
    assert_eq!(tokens["token_type"], "DPoP");
    let access = text(&tokens, "access_token");
    assert_eq!(claims(&access)["cnf"], json!({"jkt": holder.jkt()}));

    let refresh = text(&tokens, "refresh_token");
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let stolen = token(&bench, "spa", &fields, &[&thief.proof(&bench)]).await;
    assert_eq!((stolen.status.as_u16(), error(&stolen).as_str()), (400, "invalid_grant"));
    let unproven = token(&bench, "spa", &fields, &[]).await;
    assert_eq!((unproven.status.as_u16(), error(&unproven).as_str()), (400, "invalid_grant"));
    // Neither of them has spent it, or ended the sign-in.
    let next = token(&bench, "spa", &fields, &[&holder.proof(&bench)]).await;
    assert_eq!(next.status, StatusCode::OK, "{}", next.body);
    assert_eq!(next.json()["token_type"], "DPoP");
    let access = text(&next.json(), "access_token");
    assert_eq!(claims(&access)["cnf"], json!({"jkt": holder.jkt()}));
}

#[tokio::test]
async fn a_client_that_proves_itself_may_change_its_key_but_not_go_without() {
    let bench = Bench::new().await;
    let (one, other) = (Holder::new(), Holder::new());
    let code = a_code(&bench, "web", None).await;
    let tokens = token(&bench, "web", &redeeming(&code), &[&one.proof(&bench)]).await.json();
    let refresh = text(&tokens, "refresh_token");
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let without = token(&bench, "web", &fields, &[]).await;
    assert_eq!(error(&without), "invalid_grant");
    let changed = token(&bench, "web", &fields, &[&other.proof(&bench)]).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let access = text(&changed.json(), "access_token");
    assert_eq!(claims(&access)["cnf"]["jkt"], json!(other.jkt()));
    // The answer that was lost is bound to the key that asked for it.
    let again = token(&bench, "web", &fields, &[&one.proof(&bench)]).await;
    assert_eq!(error(&again), "invalid_grant");
}

#[tokio::test]
async fn every_proof_that_does_not_count_is_refused() {
    let bench = Bench::new().await;
    let (holder, other) = (Holder::new(), Holder::new());
    let now = bench.node.now().secs();
    let with = |name: &'static str, value: Value| holder.proof_with(&bench, &[(name, value)]);
    let private =
        |name: &'static str| holder.proof_under(&bench, |header| header["jwk"][name] = json!("AQ"));
    let others = serde_json::to_value(other.key.jwk()).unwrap();
    let unsigned = holder.proof_under(&bench, |header| header["alg"] = json!("none"));
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    let secret = json!({"kty": "oct", "k": "c2VjcmV0"});
    let bad = [
        ("another method", with("htm", json!("GET"))),
        ("another endpoint", with("htu", json!(format!("{ISSUER}/oauth2/userinfo")))),
        ("another host", with("htu", json!("https://evil.example/oauth2/token"))),
        ("too old", with("iat", json!(now - 61))),
        ("of the future", with("iat", json!(now + 61))),
        ("without a name", with("jti", json!(""))),
        ("alg none", holder.proof_under(&bench, |header| header["alg"] = json!("none"))),
        ("alg none, unsigned", unsigned),
        ("symmetric", holder.proof_under(&bench, |header| header["alg"] = json!("HS256"))),
        ("a symmetric key", holder.proof_under(&bench, |header| header["jwk"] = secret)),
        ("a private key", private("d")),
        ("half of a private key", private("p")),
        ("x5c", holder.proof_under(&bench, |header| header["x5c"] = json!(["AA"]))),
        ("jku", holder.proof_under(&bench, |header| header["jku"] = json!("https://evil.example"))),
        ("another key", holder.proof_under(&bench, |header| header["jwk"] = others)),
        ("an access token", holder.proof_under(&bench, |header| header["typ"] = json!("at+jwt"))),
        ("nothing", "x".to_owned()),
        ("a nonce that nobody gave", with("nonce", json!("made up"))),
    ];
    for (what, proof) in &bad {
        let answer = token(&bench, "service", &SERVICE, &[proof]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        let expected = if what.contains("nonce") { "use_dpop_nonce" } else { "invalid_dpop_proof" };
        assert_eq!(error(&answer), expected, "{what}: {}", answer.body);
    }
    let (one, two) = (holder.proof(&bench), holder.proof(&bench));
    let twice = token(&bench, "service", &SERVICE, &[&one, &two]).await;
    assert_eq!(error(&twice), "invalid_dpop_proof");
    // What is cut off from the address says nothing of the place.
    let queried = with("htu", json!(format!("{ISSUER}/oauth2/token?a=b#c")));
    assert_eq!(token(&bench, "service", &SERVICE, &[&queried]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_proof_counts_once_however_many_show_it_at_once() {
    let bench = Bench::new().await;
    let holder = Holder::new();
    let proof = holder.proof(&bench);
    let mut shown = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (router, request) =
            (bench.router.clone(), token_request("service", &SERVICE, &[&proof]));
        shown.spawn(async move { Answer::of(&router, request).await });
    }
    let answers = shown.join_all().await;
    let passed = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(passed, 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == StatusCode::OK || error(answer) == "invalid_dpop_proof")
    );
    // As long as it would count.
    bench.advance(59);
    assert_eq!(error(&token(&bench, "service", &SERVICE, &[&proof]).await), "invalid_dpop_proof");
}

#[tokio::test]
async fn a_client_that_must_prove_a_key_gets_nothing_without() {
    let bench = Bench::new().await;
    bench
        .declare(ClientMetadata {
            client_id: "strict".into(),
            grant_types: Some([GrantType::ClientCredentials].into()),
            dpop_bound_access_tokens: true,
            dpop_nonce: Some(DpopNonce::Required),
            ..ClientMetadata::default()
        })
        .await;
    let holder = Holder::new();
    let without = token(&bench, "strict", &SERVICE, &[]).await;
    assert_eq!((without.status.as_u16(), error(&without).as_str()), (400, "invalid_request"));

    let asked = token(&bench, "strict", &SERVICE, &[&holder.proof(&bench)]).await;
    assert_eq!((asked.status.as_u16(), error(&asked).as_str()), (400, "use_dpop_nonce"));
    let nonce = asked.header("dpop-nonce").to_owned();
    let with = |nonce: &str| holder.proof_with(&bench, &[("nonce", json!(nonce))]);
    let answer = token(&bench, "strict", &SERVICE, &[&with(&nonce)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.headers.get("dpop-nonce"), None);
    assert_eq!(answer.json()["token_type"], "DPoP");

    // One that is about to end is taken, and the next is told of.
    bench.advance(300);
    let answer = token(&bench, "strict", &SERVICE, &[&with(&nonce)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let next = answer.header("dpop-nonce").to_owned();
    assert_ne!(next, nonce);
    bench.advance(300);
    let late = token(&bench, "strict", &SERVICE, &[&with(&nonce)]).await;
    assert_eq!(error(&late), "use_dpop_nonce");
    assert_ne!(late.header("dpop-nonce"), nonce);
    // That of another installation is none.
    let theirs = of_another_installation(bench.node.now());
    let refused = token(&bench, "strict", &SERVICE, &[&with(&theirs)]).await;
    assert_eq!(error(&refused), "use_dpop_nonce");
}

#[tokio::test]
async fn a_nonce_is_offered_to_whoever_shows_a_proof_without_one() {
    let bench = Bench::new().await;
    let holder = Holder::new();
    let answer = token(&bench, "service", &SERVICE, &[&holder.proof(&bench)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("dpop-nonce"), bench.provider.dpop_nonce());
    assert!(answer.header("access-control-expose-headers").contains("DPoP-Nonce"));
    let bearer = token(&bench, "service", &SERVICE, &[]).await;
    assert_eq!(bearer.headers.get("dpop-nonce"), None);
    assert_eq!(bearer.json()["token_type"], "Bearer");
}

#[tokio::test]
async fn a_code_that_is_bound_to_a_key_is_of_no_use_to_another() {
    let bench = Bench::new().await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let code = a_code(&bench, "spa", Some(&holder.jkt())).await;
    for proofs in [vec![], vec![thief.proof(&bench)]] {
        let proofs: Vec<_> = proofs.iter().map(String::as_str).collect();
        let refused = token(&bench, "spa", &redeeming(&code), &proofs).await;
        assert_eq!(error(&refused), "invalid_grant");
    }
    let good = token(&bench, "spa", &redeeming(&code), &[&holder.proof(&bench)]).await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.body);

    let mut browser = Browser::new(&bench);
    let malformed = authorize(&[("client_id", "spa"), ("dpop_jkt", "x")]);
    let led = browser.get(&malformed).await;
    assert!(led.location().starts_with(CALLBACK));
    assert_eq!(led.sent_with("error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn a_code_of_a_pushed_request_is_bound_to_the_key_that_was_proven_there() {
    let bench = Bench::new().await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let target = authorize(&[("client_id", "spa")]);
    let (_, query) = target.split_once('?').unwrap();
    let place = json!(format!("{ISSUER}/oauth2/par"));
    let push = |proof: String| {
        let request = Request::post("/oauth2/par")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("DPoP", proof)
            .body(Body::from(query.to_owned()))
            .unwrap();
        Answer::of(&bench.router, request)
    };
    assert_eq!(error(&push(holder.proof(&bench)).await), "invalid_dpop_proof");
    let pushed = push(holder.proof_with(&bench, &[("htu", place)])).await;
    assert_eq!(pushed.status, StatusCode::CREATED, "{}", pushed.body);
    let uri = text(&pushed.json(), "request_uri");
    let target =
        format!("/oauth2/authorize?{}", encoded(&[("client_id", "spa"), ("request_uri", &uri)]));
    let code = code(&mut Browser::new(&bench), &target).await;
    let stolen = token(&bench, "spa", &redeeming(&code), &[&thief.proof(&bench)]).await;
    assert_eq!(error(&stolen), "invalid_grant");
    let good = token(&bench, "spa", &redeeming(&code), &[&holder.proof(&bench)]).await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.body);
}

#[tokio::test]
async fn userinfo_answers_the_holder_and_nobody_else() {
    let bench = Bench::new().await;
    let (holder, thief) = (Holder::new(), Holder::new());
    let access = text(&bound(&bench, &holder).await, "access_token");
    let credential = format!("DPoP {access}");

    let good = userinfo(&bench, &credential, &[&holder.proof_of(&bench, &access, &[])]).await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.body);
    assert_eq!(good.json()["sub"], json!(bench.alice.id));
    assert!(!good.header("dpop-nonce").is_empty());

    let now = bench.node.now().secs();
    let with =
        |name: &'static str, value: Value| holder.proof_of(&bench, &access, &[(name, value)]);
    let used = holder.proof_of(&bench, &access, &[]);
    assert_eq!(userinfo(&bench, &credential, &[&used]).await.status, StatusCode::OK);
    for (what, proof, expected) in [
        ("used before", used, "invalid_dpop_proof"),
        ("another method", with("htm", json!("POST")), "invalid_dpop_proof"),
        ("another place", with("htu", json!(ISSUER)), "invalid_dpop_proof"),
        ("old", with("iat", json!(now - 61)), "invalid_dpop_proof"),
        ("of the future", with("iat", json!(now + 61)), "invalid_dpop_proof"),
        ("another token", with("ath", json!(dpop::hash_of("x"))), "invalid_dpop_proof"),
        (
            "no token",
            holder.proof_with(
                &bench,
                &[("htm", json!("GET")), ("htu", json!(format!("{ISSUER}/oauth2/userinfo")))],
            ),
            "invalid_dpop_proof",
        ),
        ("another key", thief.proof_of(&bench, &access, &[]), "invalid_token"),
        ("a nonce of nobody's", with("nonce", json!("x")), "use_dpop_nonce"),
    ] {
        let answer = userinfo(&bench, &credential, &[&proof]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
        let challenge = answer.header("www-authenticate");
        let start = format!(
            "DPoP realm=\"tegata\", algs=\"RS256 PS256 ES256 EdDSA Ed25519\", error=\"{expected}\""
        );
        assert!(challenge.starts_with(&start), "{what}: {challenge}");
        assert_eq!(answer.headers.contains_key("dpop-nonce"), expected == "use_dpop_nonce");
    }
    let none = userinfo(&bench, &credential, &[]).await;
    assert_eq!((none.status.as_u16(), error(&none).as_str()), (401, "invalid_dpop_proof"));
    let (one, two) = (holder.proof_of(&bench, &access, &[]), holder.proof_of(&bench, &access, &[]));
    assert_eq!(userinfo(&bench, &credential, &[&one, &two]).await.status.as_u16(), 401);
}

/// RFC 9110 §11.1; RFC 9449 §4.3 knows no other claims, and RFC 7519 §4 has what is unknown passed over.
#[tokio::test]
async fn a_proof_may_say_more_clocks_may_be_apart_and_the_scheme_is_of_any_case() {
    let bench = Bench::new().await;
    let holder = Holder::new();
    let now = bench.node.now().secs();
    let bounded = [("nbf", json!(now)), ("exp", json!(now + 300)), ("extra", json!(["x"]))];
    let code = a_code(&bench, "spa", None).await;
    let proof = holder.proof_with(&bench, &bounded);
    let answer = token(&bench, "spa", &redeeming(&code), &[&proof]).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let access = text(&answer.json(), "access_token");
    for (scheme, changes) in [
        ("dPoP", bounded.as_slice()),
        ("dpop", &[("iat", json!(now - 10))]),
        ("DPOP", &[("iat", json!(now + 10))]),
    ] {
        let proof = holder.proof_of(&bench, &access, changes);
        let answer = userinfo(&bench, &format!("{scheme} {access}"), &[&proof]).await;
        assert_eq!(answer.status, StatusCode::OK, "{scheme}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_bound_token_is_no_bearer_token_and_the_other_way_round() {
    let bench = Bench::new().await;
    let holder = Holder::new();
    let access = text(&bound(&bench, &holder).await, "access_token");
    let proof = holder.proof_of(&bench, &access, &[]);
    for proofs in [vec![], vec![proof.as_str()]] {
        let answer = userinfo(&bench, &format!("Bearer {access}"), &proofs).await;
        assert_eq!((answer.status.as_u16(), error(&answer).as_str()), (401, "invalid_token"));
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("DPoP ") && challenge.contains("algs="), "{challenge}");
    }
    // Nor in a form.
    let form = Request::builder()
        .method(Method::POST)
        .uri("/oauth2/userinfo")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encoded(&[("access_token", &access)])))
        .unwrap();
    assert_eq!(Answer::of(&bench.router, form).await.status, StatusCode::UNAUTHORIZED);

    let code = a_code(&bench, "spa", None).await;
    let unbound = token(&bench, "spa", &redeeming(&code), &[]).await.json();
    let unbound = text(&unbound, "access_token");
    let proof = holder.proof_of(&bench, &unbound, &[]);
    let answer = userinfo(&bench, &format!("DPoP {unbound}"), &[&proof]).await;
    assert_eq!((answer.status.as_u16(), error(&answer).as_str()), (401, "invalid_token"));
    assert_eq!(userinfo(&bench, &format!("Bearer {unbound}"), &[]).await.status, StatusCode::OK);

    let nobody = Request::get("/oauth2/userinfo").body(Body::empty()).unwrap();
    let nobody = Answer::of(&bench.router, nobody).await;
    let offered = nobody.headers.get_all("www-authenticate").iter();
    let offered: Vec<_> = offered.map(|it| it.to_str().unwrap()).collect();
    let algs = "algs=\"RS256 PS256 ES256 EdDSA Ed25519\"";
    assert_eq!(offered, ["Bearer realm=\"tegata\"", &format!("DPoP realm=\"tegata\", {algs}")]);
}

#[tokio::test]
async fn whoever_may_ask_learns_that_a_token_is_bound() {
    let bench = Bench::new().await;
    let holder = Holder::new();
    let access = text(&bound(&bench, &holder).await, "access_token");
    let request = Request::post("/oauth2/introspect")
        .header(header::AUTHORIZATION, basic("service"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(encoded(&[("token", &access)])))
        .unwrap();
    let said = Answer::of(&bench.router, request).await.json();
    assert_eq!((&said["active"], &said["token_type"]), (&json!(true), &json!("DPoP")));
    assert_eq!(said["cnf"], json!({"jkt": holder.jkt()}));
}
