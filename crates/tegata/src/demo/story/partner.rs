//! The step that shows what the gateway does with tokens of another issuer.

use serde_json::{Value, json};
use tegata_core::{KeyId, Node};
use tegata_token::{Algorithm, SigningKey, jws};

use super::{
    Stage, Told,
    actor::{Actor, Ask},
    steps::{claim, header, text, through},
};
use crate::demo::partner::Partner;

const PATH: &str = "/echo/partner";

/// What must not count, by what is wrong with it.
type Forged = [(&'static str, String); 3];

/// A token of the partner counts, under a name that nobody here has, until it is taken back.
pub(super) async fn come_and_go(stage: &mut Stage) -> Told {
    let described = stage.description.get("partner").ok_or("there is no `partner`")?.clone();
    let issuer = text(&described, "issuer")?;
    let (token, other) = (handed_out(&described).await?, handed_out(&described).await?);
    let echo = through(stage, PATH, Some(&token), &[]).await?.expect(200)?.json();
    let user = header(&echo, "x-user-id").unwrap_or_default();
    if user != format!("{issuer} {}", text(&described, "client_id")?) {
        return Err(format!("the service saw `{user}`"));
    }
    let roles = header(&echo, "x-user-roles").unwrap_or_default();
    through(stage, "/staff/echo", Some(&token), &[]).await?.expect(403)?;
    let (meant, forged) = forgeries(stage, &issuer)?;
    // Under the name of somebody of ours, it is still somebody else.
    let echo = through(stage, PATH, Some(&meant), &[]).await?.expect(200)?.json();
    let user_of_theirs = header(&echo, "x-user-id").unwrap_or_default();
    if user_of_theirs != format!("{issuer} {}", stage.kept.subject) {
        return Err(format!("the service saw `{user_of_theirs}`"));
    }
    for (what, forged) in forged {
        let answer = through(stage, PATH, Some(&forged), &[]).await?;
        answer.expect(401).map_err(|error| format!("{what}: {error}"))?;
    }
    through(stage, PATH, Some(&other), &[]).await?.expect(200)?;
    let jti = claim(&token, "jti")?;
    let named = ["--issuer", &issuer, "--jti", &jti, "--reason", "story"];
    stage.child.command(&[&["revoke"], &named[..]].concat()).await?;
    through(stage, PATH, Some(&token), &[]).await?.expect(401)?;
    through(stage, PATH, Some(&other), &[]).await?.expect(200)?;
    stage.kept.partner_tokens = (other, token);
    Ok(format!(
        "the service saw `{user}` with role {roles}; one in our name, or of another key, is refused, and so is \
         {jti}, taken back, and no other of the partner's"
    ))
}

/// A token, as the partner hands it out.
async fn handed_out(described: &Value) -> Result<String, String> {
    let (id, secret) = (text(described, "client_id")?, text(described, "client_secret")?);
    let endpoint = text(described, "token_endpoint")?;
    let form = [("grant_type", "client_credentials")];
    let mut actor = Actor::new(&text(described, "issuer")?);
    let wrong = Ask { basic: Some((&id, "wrong")), form: Some(&form), ..Ask::default() };
    actor.ask("POST", &endpoint, wrong).await?.expect(401)?;
    let right = Ask { basic: Some((&id, &secret)), form: Some(&form), ..Ask::default() };
    actor.ask("POST", &endpoint, right).await?.expect(200)?.text("access_token")
}

/// A token of the partner for one whom it calls as we call somebody, and the same as the partner could sign it
/// in our name, and somebody else in the partner's.
fn forgeries(stage: &Stage, issuer: &str) -> Result<(String, Forged), String> {
    // Its key is nobody's but the partner's own: what it does with it must not matter.
    let data = stage.child.data();
    let partner = Partner::open(data, stage.node.entropy()).map_err(|error| error.to_string())?;
    let own = partner.key().map_err(|error| error.to_string())?;
    let stranger = SigningKey::generate(Algorithm::Es256).map_err(|error| error.to_string())?;
    let alike = renamed(&stranger, own.kid())?;
    let claims = |iss: &str| claims(&stage.node, iss, &stage.kept.subject, &stage.gateway);
    let signed = |key: &SigningKey, iss: &str| {
        let token = jws::sign(key, "at+jwt", claims(iss).to_string().as_bytes());
        token.map_err(|error| error.to_string())
    };
    let forged = [
        ("the partner's, as if it were ours", signed(&own, &stage.issuer)?),
        ("another key", signed(&stranger, issuer)?),
        ("another key under the name of the partner's", signed(&alike, issuer)?),
    ];
    Ok((signed(&own, issuer)?, forged))
}

/// The key under another name.
fn renamed(key: &SigningKey, kid: &KeyId) -> Result<SigningKey, String> {
    let pkcs8 = key.to_pkcs8().map_err(|error| error.to_string())?;
    let renamed = SigningKey::from_pkcs8(pkcs8.expose(), None, Some(kid.clone()));
    renamed.map_err(|error| error.to_string())
}

/// What somebody of ours could have.
fn claims(node: &Node, iss: &str, sub: &str, aud: &str) -> Value {
    let now = node.now().secs();
    json!({
        "iss": iss, "sub": sub, "client_id": "demo-spa", "aud": aud, "iat": now, "exp": now + 300,
        "jti": "1.story", "scope": "openid", "roles": ["customer"],
    })
}
