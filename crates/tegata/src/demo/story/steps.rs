//! The steps of the story.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    PATIENCE, Stage, Told,
    actor::{Actor, Answer, Ask, action, form, input},
    guard, partner,
};

/// What each step shows.
pub(super) const NAMES: [&str; 14] = [
    "sign-in by password",
    "a call through the gateway reaches the service with the right identity",
    "no token, the wrong role, a forged identity",
    "a `none` token, an ID token, a refresh token as access tokens",
    "refresh, and the retry after a lost answer",
    "a stolen refresh token",
    "authorization code with PKCE, and a replayed code",
    "client credentials, introspection, revocation",
    "a token of another issuer, until it is taken back",
    "questions in GraphQL that may be asked, and others",
    "a screen put together from several services",
    "what a policy forbids, and why",
    "key rotation in the middle of traffic",
    "kill -9 and restart",
];

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(super) async fn step(stage: &mut Stage, number: usize) -> Told {
    match number {
        1 => sign_in(stage).await,
        2 => call(stage).await,
        3 => refuse(stage).await,
        4 => confuse(stage).await,
        5 => refresh(stage).await,
        6 => steal(stage).await,
        7 => replay_code(stage).await,
        8 => machine(stage).await,
        9 => partner::come_and_go(stage).await,
        10 => guard::ask_in_graphql(stage).await,
        11 => guard::come_home(stage).await,
        12 => guard::ask_why(stage).await,
        13 => rotate(stage).await,
        14 => kill(stage).await,
        _ => Err("there is no such step".to_owned()),
    }
}

async fn sign_in(stage: &mut Stage) -> Told {
    let alice = member(&stage.description, "users", |it| has(it, "roles", "customer"))?;
    let wrong =
        json!({"username": text(&alice, "username")?, "password": "not the password of alice"});
    log_in(stage, wrong).await?.expect(401)?;
    sign_in_anew(stage).await?;
    stage.kept.subject = claim(&stage.kept.session_token, "sub")?;
    session(stage).await?.expect(200)?;
    Ok(format!(
        "a wrong password is refused; the right one gives {} a session and a token",
        stage.kept.subject
    ))
}

async fn sign_in_anew(stage: &mut Stage) -> Result<(), String> {
    let alice = member(&stage.description, "users", |it| has(it, "roles", "customer"))?;
    let right =
        json!({"username": text(&alice, "username")?, "password": text(&alice, "password")?});
    stage.kept.session_token = log_in(stage, right).await?.expect(200)?.text("access_token")?;
    Ok(())
}

async fn log_in(stage: &mut Stage, credentials: Value) -> Result<Answer, String> {
    let address = format!("{}/api/auth/login", stage.issuer);
    let ask = Ask { json: Some(credentials), ..Ask::default() };
    stage.browser.ask("POST", &address, ask).await
}

async fn session(stage: &mut Stage) -> Result<Answer, String> {
    let address = format!("{}/api/auth/session", stage.issuer);
    stage.browser.ask("GET", &address, Ask::default()).await
}

async fn call(stage: &mut Stage) -> Told {
    let token = stage.kept.session_token.clone();
    let path = text(&stage.description, "protected_path")?;
    through(stage, &path, Some(&token), &[]).await?.expect(200)?;
    let echo = through(stage, "/echo/whoami?x=1", Some(&token), &[]).await?.expect(200)?.json();
    let user = header(&echo, "x-user-id").unwrap_or_default();
    let roles = header(&echo, "x-user-roles").unwrap_or_default();
    if user != stage.kept.subject || header(&echo, "x-internal-token").is_none() {
        return Err(format!("the service saw `{user}`"));
    }
    if header(&echo, "authorization").is_some() {
        return Err("the service saw the token of the outside".to_owned());
    }
    Ok(format!(
        "{path} answers 200; the service saw {user} with role {roles} and an internal token"
    ))
}

async fn refuse(stage: &mut Stage) -> Told {
    let token = stage.kept.session_token.clone();
    let path = text(&stage.description, "protected_path")?;
    through(stage, &path, None, &[]).await?.expect(401)?;
    through(stage, "/staff/echo", Some(&token), &[]).await?.expect(403)?;
    let forged = [
        ("X-User-ID", "usr_forged"),
        ("x_user_id", "usr_forged"),
        ("X-User-Roles", "forged-admin"),
        ("X-Internal-Token", "forged"),
        ("Connection", "X-Request-ID"),
    ];
    let echo = through(stage, "/echo/x", Some(&token), &forged).await?.expect(200)?;
    if echo.body.contains("forged") {
        return Err("a forged identity arrived".to_owned());
    }
    Ok("401 without a token, 403 for the wrong role; a forged X-User-ID never arrived".to_owned())
}

async fn confuse(stage: &mut Stage) -> Told {
    let tokens = authorize(stage, "demo-spa").await?;
    stage.kept.access_token = tokens.text("access_token")?;
    stage.kept.refresh_token = tokens.text("refresh_token")?;
    stage.kept.id_token = tokens.text("id_token")?;
    let good = stage.kept.access_token.clone();
    let payload = good.split('.').nth(1).unwrap_or_default();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let none = format!("{header}.{payload}.");
    let (id, refresh) = (stage.kept.id_token.clone(), stage.kept.refresh_token.clone());
    let path = text(&stage.description, "protected_path")?;
    through(stage, &path, Some(&good), &[]).await?.expect(200)?;
    for (what, token) in [("`none`", &none), ("an ID token", &id), ("a refresh token", &refresh)] {
        let answer = through(stage, &path, Some(token), &[]).await?;
        answer.expect(401).map_err(|error| format!("{what}: {error}"))?;
    }
    Ok("each is answered 401, the access token beside them 200".to_owned())
}

async fn refresh(stage: &mut Stage) -> Told {
    let first = stage.kept.refresh_token.clone();
    let second = redeem_refresh(stage, &first).await?.expect(200)?;
    let again = redeem_refresh(stage, &first).await?.expect(200)?;
    let (lost, retried) = (second.text("refresh_token")?, again.text("refresh_token")?);
    let jti = claim(&second.text("access_token")?, "jti")?;
    if lost == first || lost != retried || jti != claim(&again.text("access_token")?, "jti")? {
        return Err("the retry was not given the same refresh token and jti".to_owned());
    }
    // The successor's use closes the window: from now on, the first one is a stolen one.
    let third = redeem_refresh(stage, &lost).await?.expect(200)?;
    stage.kept.access_token = third.text("access_token")?;
    Ok(format!("a new pair; the retry was given the same refresh token and jti {jti}"))
}

async fn steal(stage: &mut Stage) -> Told {
    let (stolen, token) = (stage.kept.refresh_token.clone(), stage.kept.access_token.clone());
    let path = text(&stage.description, "protected_path")?;
    through(stage, &path, Some(&token), &[]).await?.expect(200)?;
    let caught = redeem_refresh(stage, &stolen).await?.expect(400)?;
    if caught.text("error")? != "invalid_grant" {
        return Err(caught.body);
    }
    through(stage, &path, Some(&token), &[]).await?.expect(401)?;
    let family = stage.child.inspect(&stolen).await?;
    let reason = family.pointer("/ended/reason").and_then(Value::as_str).unwrap_or_default();
    if reason != "reused" {
        return Err(format!("the family was ended for `{reason}`"));
    }
    // Whoever had the refresh token may have the browser's session as well.
    session(stage).await?.expect(401)?;
    stage.kept.revoked_token = token;
    Ok("the family and its session are ended for `reused`; the gateway refuses the access token"
        .to_owned())
}

async fn replay_code(stage: &mut Stage) -> Told {
    sign_in_anew(stage).await?;
    let code = a_code(stage, "demo-spa").await?;
    let first = redeem_code(stage, "demo-spa", &code).await?.expect(200)?;
    let token = first.text("access_token")?;
    let path = text(&stage.description, "protected_path")?;
    through(stage, &path, Some(&token), &[]).await?.expect(200)?;
    redeem_code(stage, "demo-spa", &code).await?.expect(400)?;
    through(stage, &path, Some(&token), &[]).await?.expect(401)?;
    Ok("signed in anew; the replayed code is refused, and what it gave has been taken back"
        .to_owned())
}

async fn machine(stage: &mut Stage) -> Told {
    let client = member(&stage.description, "clients", |it| is(it, "client_id", "demo-service"))?;
    let secret = text(&client, "client_secret")?;
    let basic = Some(("demo-service", secret.as_str()));
    let mut actor = Actor::new(&stage.issuer);
    let issuer = stage.issuer.clone();
    let at = |path: &str| format!("{issuer}/oauth2/{path}");
    let form = [("grant_type", "client_credentials"), ("scope", "orders.read")];
    let ask = Ask { basic, form: Some(&form), ..Ask::default() };
    let token = actor.ask("POST", &at("token"), ask).await?.expect(200)?.text("access_token")?;
    through(stage, "/echo/machine", Some(&token), &[]).await?.expect(200)?;
    let form = [("token", token.as_str())];
    let ask = || Ask { basic, form: Some(&form), ..Ask::default() };
    let active = actor.ask("POST", &at("introspect"), ask()).await?.expect(200)?.json();
    if active.get("active") != Some(&Value::Bool(true)) {
        return Err(format!("introspection says {active}"));
    }
    actor.ask("POST", &at("revoke"), ask()).await?.expect(200)?;
    let acknowledged = stage.node.since_boot();
    through(stage, "/echo/machine", Some(&token), &[]).await?.expect(401)?;
    let micros = stage.node.elapsed(acknowledged).as_micros();
    let inactive = actor.ask("POST", &at("introspect"), ask()).await?.expect(200)?.json();
    if inactive != json!({"active": false}) {
        return Err(format!("introspection says {inactive}"));
    }
    Ok(format!(
        "active, revoked, inactive; the gateway refused the first request after the acknowledgement ({micros} µs)"
    ))
}

/// Calls go on while the keys are rotated, until the rotation has been accepted and tokens of the
/// new keys have been used.
async fn rotate(stage: &mut Stage) -> Told {
    let token = stage.kept.session_token.clone();
    let began = stage.node.since_boot();
    let mut calls = 0_u32;
    let rotated = loop {
        through(stage, "/echo/rotation", Some(&token), &[]).await?.expect(200)?;
        calls += 1;
        match stage.child.command(&["key", "rotate"]).await {
            Ok(rotated) => break rotated,
            // The next key is published for a while before it signs.
            Err(error) if error.contains("published") && stage.node.elapsed(began) < PATIENCE => {}
            Err(error) => return Err(error),
        }
    };
    for _ in 0..200 {
        through(stage, "/echo/rotation", Some(&token), &[]).await?.expect(200)?;
        calls += 1;
    }
    let fresh = authorize(stage, "demo-spa").await?;
    let fresh_token = fresh.text("access_token")?;
    through(stage, "/echo/rotation", Some(&fresh_token), &[]).await?.expect(200)?;
    stage.kept.refresh_token = fresh.text("refresh_token")?;
    let path = text(&stage.description, "protected_path")?;
    through(stage, &path, Some(&fresh_token), &[]).await?.expect(200)?;
    let rings = rotated.as_array().map_or(0, Vec::len);
    Ok(format!(
        "{rings} rings rotated; {calls} calls with a token of the old key and those with the new one all passed"
    ))
}

async fn kill(stage: &mut Stage) -> Told {
    stage.child.kill_and_restart().await?;
    session(stage).await?.expect(200)?;
    let kept = stage.kept.refresh_token.clone();
    let fresh = redeem_refresh(stage, &kept).await?.expect(200)?.text("access_token")?;
    let path = text(&stage.description, "protected_path")?;
    through(stage, &path, Some(&fresh), &[]).await?.expect(200)?;
    let revoked = stage.kept.revoked_token.clone();
    through(stage, &path, Some(&revoked), &[]).await?.expect(401)?;
    let (kept, revoked) = stage.kept.partner_tokens.clone();
    through(stage, "/echo/partner", Some(&kept), &[]).await?.expect(200)?;
    through(stage, "/echo/partner", Some(&revoked), &[]).await?.expect(401)?;
    Ok("the session, the family and a token of the partner go on, and what was revoked stays refused"
        .to_owned())
}

/// Signs in at the authorization endpoint with the browser's session, agrees, and redeems the code.
async fn authorize(stage: &mut Stage, client: &str) -> Result<Answer, String> {
    let code = a_code(stage, client).await?;
    redeem_code(stage, client, &code).await?.expect(200)
}

async fn a_code(stage: &mut Stage, client: &str) -> Result<String, String> {
    let described = member(&stage.description, "clients", |it| is(it, "client_id", client))?;
    let callback = described.pointer("/redirect_uris/0").and_then(Value::as_str);
    let callback = callback.ok_or("the client has no redirect URI")?.to_owned();
    let query = form(&[
        ("client_id", client),
        ("response_type", "code"),
        ("redirect_uri", &callback),
        ("scope", "openid profile"),
        ("state", "story"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    let mut address = format!("{}/oauth2/authorize?{query}", stage.issuer);
    let mut answer = stage.browser.ask("GET", &address, Ask::default()).await?;
    // At most: to the consent page, its answer, and the callback.
    for _ in 0..4 {
        if let Some(location) = &answer.location {
            if location.starts_with(&callback) {
                let code = location.split(['?', '&']).find_map(|pair| pair.strip_prefix("code="));
                return code.map(str::to_owned).ok_or_else(|| location.clone());
            }
            address = absolute(&stage.issuer, location);
            answer = stage.browser.ask("GET", &address, Ask::default()).await?;
            continue;
        }
        let page = answer.expect(200)?.body;
        let (token, request) = (input(&page, "csrf_token"), input(&page, "request"));
        let (token, request) = token.zip(request).ok_or("the page has no form for consent")?;
        let target = absolute(&stage.issuer, &action(&page).ok_or("the form leads nowhere")?);
        let fields = [("csrf_token", token.as_str()), ("request", &request), ("decision", "allow")];
        let ask = Ask { form: Some(&fields), ..Ask::default() };
        answer = stage.browser.ask("POST", &target, ask).await?;
    }
    Err("the authorization endpoint did not come to an answer".to_owned())
}

async fn redeem_code(stage: &mut Stage, client: &str, code: &str) -> Result<Answer, String> {
    let described = member(&stage.description, "clients", |it| is(it, "client_id", client))?;
    let callback =
        described.pointer("/redirect_uris/0").and_then(Value::as_str).unwrap_or_default();
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", callback),
        ("code_verifier", VERIFIER),
    ];
    post_token(stage, &fields).await
}

async fn redeem_refresh(stage: &mut Stage, token: &str) -> Result<Answer, String> {
    let fields =
        [("grant_type", "refresh_token"), ("client_id", "demo-spa"), ("refresh_token", token)];
    post_token(stage, &fields).await
}

async fn post_token(stage: &mut Stage, fields: &[(&str, &str)]) -> Result<Answer, String> {
    let mut actor = Actor::new(&stage.issuer);
    let ask = Ask { form: Some(fields), ..Ask::default() };
    actor.ask("POST", &format!("{}/oauth2/token", stage.issuer), ask).await
}

/// A call through the gateway, without cookies.
pub(super) async fn through(
    stage: &Stage,
    path: &str,
    bearer: Option<&str>,
    headers: &[(&str, &str)],
) -> Result<Answer, String> {
    let mut actor = Actor::new(&stage.gateway);
    let address = format!("{}{path}", stage.gateway);
    actor.ask("GET", &address, Ask { bearer, headers, ..Ask::default() }).await
}

fn absolute(base: &str, location: &str) -> String {
    if location.starts_with('/') { format!("{base}{location}") } else { location.to_owned() }
}

pub(super) fn claim(token: &str, name: &str) -> Result<String, String> {
    let part = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string())?;
    let claims: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    text(&claims, name)
}

pub(super) fn text(value: &Value, name: &str) -> Result<String, String> {
    let text = value.get(name).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| format!("there is no `{name}`"))
}

fn has(value: &Value, name: &str, item: &str) -> bool {
    let items = value.get(name).and_then(Value::as_array);
    items.is_some_and(|items| items.iter().any(|it| it == item))
}

fn is(value: &Value, name: &str, wanted: &str) -> bool {
    value.get(name).and_then(Value::as_str) == Some(wanted)
}

fn member(
    description: &Value,
    list: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value, String> {
    let items = description.get(list).and_then(Value::as_array);
    items
        .and_then(|items| items.iter().find(|it| wanted(it)))
        .cloned()
        .ok_or_else(|| format!("the description has no such member of `{list}`"))
}

/// A header of the request that `echo` received.
pub(super) fn header(echo: &Value, name: &str) -> Option<String> {
    let headers = echo.get("headers")?.as_array()?;
    let found = headers.iter().find(|pair| {
        pair.get(0).and_then(Value::as_str).is_some_and(|own| own.eq_ignore_ascii_case(name))
    })?;
    found.get(1)?.as_str().map(str::to_owned)
}
