use serde_json::json;
use tegata_core::{ClientId, Event, Log, port::Page};
use tegata_oauth::administer::Administrator;

use super::*;
use crate::compose;

mod halfway;

/// Administration of a new installation, whose gateway takes every map.
async fn api(place: &std::path::Path) -> Api {
    of(compose::for_tests(place).await)
}

/// The same of this one.
fn of(composed: Composed) -> Api {
    let composed = Arc::new(composed);
    let (look, mut looks) = mpsc::channel::<Look>(1);
    tokio::spawn(async move {
        while let Some(look) = looks.recv().await {
            let _ = look.send(Ok(()));
        }
    });
    Api::new(composed, look)
}

fn asked(operation: Operation, named: &[&str], body: &Value) -> Asked {
    let who = Who::Client(ClientId::new("back-office").unwrap());
    Asked {
        operation,
        by: Administrator { who, acr: None, key: None },
        named: named.iter().map(|name| (*name).to_owned()).collect(),
        page: Page { after: None, limit: 50 },
        filters: std::collections::BTreeMap::new(),
        confirmed: false,
        versions: None,
        body: body.as_object().cloned().unwrap_or_default(),
    }
}

async fn events(api: &Api, after: &mut u64) -> Vec<Event> {
    let pulled = api.composed.records.pull(Log::Journal, *after, 1000).await.unwrap();
    *after = pulled.entries.last().map_or(*after, |entry| entry.position);
    pulled.entries.iter().map(|entry| serde_json::from_slice(&entry.body).unwrap()).collect()
}

#[tokio::test]
async fn every_change_is_an_event_that_names_who_asked_for_it() {
    use Operation as O;
    let place = tempfile::tempdir().unwrap();
    let api = api(place.path()).await;
    let mut seen = 0;
    events(&api, &mut seen).await;
    let maria = json!({"username": "maria", "password": "a long and private phrase"});
    let added = api.perform(asked(O::UserAdd, &[], &maria)).await.unwrap().body.unwrap();
    let id = added["id"].as_str().unwrap();
    let client = json!({"client_id": "web", "grant_types": ["client_credentials"]});
    let service = json!({"name": "svc", "upstreams": ["http://127.0.0.1:9"]});
    let key = api.composed.keys.now().signer(tegata_token::Algorithm::Es256).unwrap();
    let stolen = json!({"key": key.kid(), "reason": "stolen"});
    let phrase = json!({"password": "another long phrase"});
    let none = Value::Null;
    let changes = [
        (O::UserChange, &[id][..], json!({"email": "a@b.example", "roles": ["staff"]})),
        (O::UserPassword, &[id], phrase),
        (O::UserRevoke, &[id], json!({"reason": "tried"})),
        (O::UserChange, &[id], json!({"disabled": true})),
        (O::ClientAdd, &[], client),
        (O::ClientChange, &["web"], json!({"client_name": "Web"})),
        (O::ClientSecret, &["web"], none.clone()),
        (O::Revoke, &[], json!({"client": "web", "reason": "tried"})),
        (O::Revoke, &[], json!({"jti": "1.abc", "reason": "tried"})),
        (O::ClientRemove, &["web"], none.clone()),
        (O::ServiceAdd, &[], service),
        (O::ServiceChange, &["svc"], json!({"roles": ["staff"]})),
        (O::ServiceRemove, &["svc"], none),
        (O::KeysRotate, &[], json!({"algorithm": "ES256", "force": true})),
        (O::Revoke, &[], stolen),
    ];
    assert_eq!(events(&api, &mut seen).await.len(), 1);
    for (operation, named, body) in changes {
        let done = api.perform(asked(operation, named, &body)).await;
        assert!(done.is_ok(), "{operation:?}: {done:?}");
        let told = events(&api, &mut seen).await;
        assert!(!told.is_empty(), "{operation:?}");
        for event in told {
            assert_eq!(event.data.get("actor"), Some(&json!("back-office")), "{event:?}");
        }
    }
    // The key that somebody else has signs nothing any more.
    let now = api.composed.keys.now().signer(tegata_token::Algorithm::Es256).unwrap();
    assert_ne!(now.kid(), key.kid());
}

#[tokio::test]
async fn looking_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let api = api(place.path()).await;
    let mut seen = 0;
    events(&api, &mut seen).await;
    for row in tegata_server::admin::TABLE.iter().filter(|row| row.lists) {
        api.perform(asked(row.operation, &[], &Value::Null)).await.unwrap();
    }
    api.perform(asked(Operation::Keys, &[], &Value::Null)).await.unwrap();
    assert_eq!(events(&api, &mut seen).await, []);
}

#[tokio::test]
async fn what_the_gateway_does_not_take_is_done_but_not_called_done() {
    let place = tempfile::tempdir().unwrap();
    let composed = Arc::new(compose::for_tests(place.path()).await);
    let (look, looks) = mpsc::channel::<Look>(1);
    drop(looks);
    let api = Api::new(composed, look);
    let service = json!({"name": "svc", "upstreams": ["http://127.0.0.1:9"]});
    let refused = api.perform(asked(Operation::ServiceAdd, &[], &service)).await.unwrap_err();
    assert!(matches!(&refused, Refused::Partly(why) if why.contains("the gateway")), "{refused:?}");
    api.perform(asked(Operation::Service, &["svc"], &Value::Null)).await.unwrap();
}

#[tokio::test]
async fn whoever_adds_a_service_twice_is_told_how_it_is_changed_here() {
    let place = tempfile::tempdir().unwrap();
    let api = api(place.path()).await;
    let service = json!({"name": "svc", "upstreams": ["http://127.0.0.1:9"]});
    let add = || api.perform(asked(Operation::ServiceAdd, &[], &service));
    add().await.unwrap();
    let refused = add().await.unwrap_err();
    let names = |why: &str| why.contains("`svc`") && why.contains("PATCH");
    assert!(matches!(&refused, Refused::Conflict(why) if names(why)), "{refused:?}");
}

#[tokio::test]
async fn the_members_of_a_client_are_those_that_can_be_declared() {
    let declared = serde_json::to_value(tegata_oauth::ClientMetadata::default()).unwrap();
    let mut declared: Vec<_> = declared.as_object().unwrap().keys().cloned().collect();
    let row = tegata_server::admin::TABLE.iter().find(|row| row.operation == Operation::ClientAdd);
    let form = row.unwrap().body.unwrap();
    let mut documented: Vec<_> =
        form.members.iter().chain(form.more).map(|member| member.name.to_owned()).collect();
    documented.retain(|name| name != "client_secret");
    declared.sort();
    documented.sort();
    assert_eq!(documented, declared);
}
