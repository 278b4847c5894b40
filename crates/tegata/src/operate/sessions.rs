//! Orders about sessions.

use serde_json::{Value, json};
use tegata_core::{SessionId, UserId};
use tegata_token::Order;

use super::{OPERATOR, text, users};
use crate::compose::Composed;

pub(super) async fn list(composed: &Composed, username: Option<&str>) -> Result<Value, String> {
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
        for listed in composed.sessions.list(&composed.realm, &id).await.map_err(text)? {
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

/// Ends a session and takes back the tokens of its sign-in.
pub(super) async fn end(composed: &Composed, sid: &str) -> Result<Value, String> {
    let sid = SessionId::new(sid).map_err(text)?;
    let order = Order { reason: "ended".to_owned(), actor: OPERATOR.to_owned() };
    super::revoke::session(composed, &sid, &order).await?;
    Ok(json!({"ended": sid}))
}
