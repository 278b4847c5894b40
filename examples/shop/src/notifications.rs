//! What a person has been told. Services write, people read their own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::{Call, Caller, Node, ServiceClient};

use crate::{
    page::{Page, PageQuery},
    request::{Asked, Body, text},
    service::{Answer, Parts, nothing_here},
};

/// What a person is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Whom.
    pub user_id: String,
    /// What.
    pub text: String,
}

/// What a person has been told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Its id.
    pub id: String,
    /// Which service wrote it.
    pub from: String,
    /// What it says.
    pub text: String,
    /// When: RFC 3339.
    pub at: String,
    /// Whether it has been read.
    pub read: bool,
}

/// Of each person's, so many are kept: the oldest goes.
const MOST: usize = 200;

/// A person's notifications by id.
#[derive(Default)]
struct Inbox {
    written: u64,
    notifications: BTreeMap<String, Notification>,
}

#[derive(Clone)]
struct Notifications {
    by_user: Arc<Mutex<HashMap<String, Inbox>>>,
    node: Node,
}

#[derive(Deserialize)]
struct Filter {
    unread: Option<bool>,
}

/// The service.
pub fn router(parts: &Parts) -> Router {
    let notifications = Notifications { by_user: Arc::default(), node: parts.node.clone() };
    let protected = Router::new()
        .route("/notifications", get(list).post(write))
        .route("/notifications/{id}/read", post(read))
        .route("/unread", get(unread))
        .with_state(notifications);
    parts.assemble(Router::new(), protected)
}

/// Tells a person something, because of what the caller did. Nothing fails for want of it: what was
/// not told is in the log.
pub(crate) async fn tell(client: &ServiceClient, caller: &Caller, notice: Notice) {
    let call = Call::post("notifications", &["notifications"]).because_of(caller).json(&notice);
    match client.send(call).await {
        Ok(reply) if reply.is_success() => {}
        Ok(reply) => tracing::warn!(status = %reply.status(), "a notification was not taken"),
        Err(error) => tracing::warn!(%error, "a notification was not sent"),
    }
}

async fn write(
    State(notifications): State<Notifications>,
    caller: Caller,
    Body(notice): Body<Notice>,
) -> Answer<StatusCode> {
    caller.require_service(&["orders", "shipping"])?;
    text("user_id", &notice.user_id, 64)?;
    text("text", &notice.text, 500)?;
    let from = caller.calling_service().unwrap_or_default();
    notifications.write(from, notice);
    Ok(StatusCode::CREATED)
}

async fn list(
    State(notifications): State<Notifications>,
    caller: Caller,
    Asked(filter): Asked<Filter>,
    Asked(page): Asked<PageQuery>,
) -> Answer<Json<Page<Notification>>> {
    let user = caller.require_user()?.as_str();
    let by_user = notifications.by_user.lock();
    let own = by_user.get(user).into_iter().flat_map(|inbox| &inbox.notifications);
    let wanted = own.filter(|(_, one)| !filter.unread.unwrap_or(false) || !one.read);
    Ok(Json(page.of(wanted.map(|(id, one)| (id.as_str(), one.clone())))?))
}

/// How much somebody has not read yet.
#[derive(Serialize)]
struct Unread {
    unread_count: usize,
}

async fn unread(
    State(notifications): State<Notifications>,
    caller: Caller,
) -> Answer<Json<Unread>> {
    let user = caller.require_user()?.as_str();
    let by_user = notifications.by_user.lock();
    let own = by_user.get(user).into_iter().flat_map(|inbox| inbox.notifications.values());
    Ok(Json(Unread { unread_count: own.filter(|one| !one.read).count() }))
}

async fn read(
    State(notifications): State<Notifications>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Notification>> {
    let user = caller.require_user()?.as_str();
    let mut by_user = notifications.by_user.lock();
    let own = by_user.get_mut(user).and_then(|inbox| inbox.notifications.get_mut(&id));
    let notification = own.ok_or_else(nothing_here)?;
    notification.read = true;
    Ok(Json(notification.clone()))
}

impl Notifications {
    fn write(&self, from: &str, notice: Notice) {
        let mut by_user = self.by_user.lock();
        let inbox = by_user.entry(notice.user_id).or_default();
        inbox.written += 1;
        let id = format!("ntf_{:08}", inbox.written);
        let (from, at) = (from.to_owned(), self.node.now().to_string());
        let one = Notification { id: id.clone(), from, text: notice.text, at, read: false };
        inbox.notifications.insert(id, one);
        if inbox.notifications.len() > MOST {
            inbox.notifications.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest() {
        let notifications = Notifications { by_user: Arc::default(), node: Node::for_tests(1) };
        for number in 0..=MOST {
            let notice = Notice { user_id: "usr_a".into(), text: number.to_string() };
            notifications.write("orders", notice);
        }
        let by_user = notifications.by_user.lock();
        let inbox = &by_user["usr_a"].notifications;
        assert_eq!(inbox.len(), MOST);
        assert_eq!(inbox.first_key_value().unwrap().1.text, "1");
    }
}
