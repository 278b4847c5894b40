//! Orders about sessions.

use serde_json::{Value, json};
use tegata_core::{SessionId, UserId};
use tegata_session::{Limits, sessions::Listed};
use tegata_token::Order;

use super::{Refused, users};
use crate::compose::Composed;

pub(super) async fn list(composed: &Composed, username: Option<&str>) -> Result<Value, Refused> {
    let people: Vec<(UserId, String)> = match username {
        Some(username) => {
            let user = users::find(composed, username).await?;
            vec![(user.id, user.username.as_str().to_owned())]
        }
        None => {
            let all = users::list(composed).await?;
            let each = all.as_array().into_iter().flatten();
            let named = each.filter_map(|user| {
                let text = |name: &str| user.get(name).and_then(Value::as_str);
                Some((UserId::new(text("id")?).ok()?, text("username")?.to_owned()))
            });
            named.collect()
        }
    };
    let mut sessions = Vec::new();
    for (id, username) in people {
        for listed in composed.sessions.list(&composed.realm, &id).await? {
            sessions.push(json!({
                "sid": listed.session.id,
                "username": username,
                "started": listed.session.started.to_string(),
                "last_access": listed.last_access.to_string(),
                "accesses": listed.accesses,
            }));
        }
    }
    Ok(Value::Array(sessions))
}

/// A session as programs see it.
pub(crate) fn shown(listed: &Listed, limits: &Limits) -> Value {
    let session = &listed.session;
    json!({
        "sid": session.id,
        "user_id": session.user,
        "started": session.started.to_string(),
        "ends": session.ends_within(limits).to_string(),
        "last_access": listed.last_access.to_string(),
        "accesses": listed.accesses,
        "acr": session.standing.acr,
        "amr": session.standing.amr,
    })
}

/// Ends a session and takes back the tokens of its sign-in.
pub(super) async fn end(composed: &Composed, actor: &str, sid: &str) -> Result<Value, Refused> {
    let sid = SessionId::new(sid)?;
    let order = Order { reason: "ended".to_owned(), actor: actor.to_owned() };
    super::revoke::session(composed, &sid, &order).await?;
    Ok(json!({"ended": sid}))
}
