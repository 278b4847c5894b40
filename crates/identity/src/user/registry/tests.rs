use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::*;
use crate::testing::{Bed, new_user};

mod amending;

fn roles(names: &[&str]) -> BTreeSet<Role> {
    names.iter().map(|name| Role::new(name).unwrap()).collect()
}

#[tokio::test]
async fn registers_a_user_with_its_event_and_finds_it_by_any_spelling() {
    let bed = Bed::new();
    let alice = bed.user("Alice", None).await;
    for spelling in ["alice", " ALICE ", "ａｌｉｃｅ"] {
        let name = Username::new(spelling).unwrap();
        let found = bed.users.by_username(&bed.realm, &name).await.unwrap();
        assert_eq!(found.as_ref(), Some(&alice));
    }
    assert_eq!(bed.users.load(&bed.realm, &alice.id).await.unwrap(), Some(alice.clone()));
    let events = bed.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].0, "REGISTRY_CHANGED");
    assert_eq!(events[0].1["subject"], alice.id.as_str());
    assert_eq!(events[0].1["change"], "user_registered");
    assert_eq!(events[0].1["actor"], "test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_register_one_name_exactly_one_wins() {
    let bed = Bed::new();
    let spellings = ["alice", "Alice", "ALICE", "ａｌｉｃｅ"];
    let tasks = (0..64).map(|n| {
        let (users, realm) = (bed.users.clone(), bed.realm.clone());
        let new = new_user(spellings[n % spellings.len()]);
        tokio::spawn(async move { users.register(&realm, new, "test").await })
    });
    let answers: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for refused in lost {
        assert!(
            matches!(refused, Err(RegisterRefused::NameTaken(name)) if name.as_str() == "alice")
        );
    }
    let page = Page { after: None, limit: 100 };
    assert_eq!(bed.users.list(&bed.realm, page).await.unwrap(), [won[0].clone().unwrap()]);
    assert_eq!(bed.events().await.len(), 1);
}

#[tokio::test]
async fn names_are_unique_within_a_realm_and_not_across_realms() {
    let bed = Bed::new();
    let other = Realm::new("acme").unwrap();
    bed.user("alice", None).await;
    let there = bed.users.register(&other, new_user("alice"), "test").await.unwrap();
    assert_eq!(bed.users.load(&bed.realm, &there.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_settled_by_looking() {
    let bed = Bed::new();
    bed.records.lose_answers.store(true, Ordering::SeqCst);
    let alice = bed.users.register(&bed.realm, new_user("alice"), "test").await.unwrap();
    bed.records.lose_answers.store(false, Ordering::SeqCst);
    assert_eq!(bed.users.load(&bed.realm, &alice.id).await.unwrap(), Some(alice));
    assert_eq!(bed.events().await.len(), 1);
}

#[tokio::test]
async fn changes_of_roles_raise_the_authority_and_say_what_changed() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let change = RoleChange::Set(roles(&["admin", "auditor"]));
    let changed = bed.users.change_roles(&bed.realm, &alice.id, &change, "root").await.unwrap();
    assert_eq!((changed.roles, changed.authority), (roles(&["admin", "auditor"]), 2));
    let events = bed.events().await;
    assert_eq!(events[1].0, "PERMISSIONS_CHANGED");
    assert_eq!(
        events[1].1,
        json!({
            "user_id": alice.id.as_str(),
            "changes": {"roles": {"granted": ["admin", "auditor"], "withdrawn": ["customer"],
                "now": ["admin", "auditor"]}},
            "authority": 2,
            "actor": "root",
        })
    );
}

#[tokio::test]
async fn a_change_that_changes_nothing_leaves_no_trace() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let change = RoleChange::Grant(roles(&["customer"]));
    let same = bed.users.change_roles(&bed.realm, &alice.id, &change, "root").await.unwrap();
    assert_eq!(bed.users.enable(&bed.realm, &alice.id, "root").await.unwrap(), same);
    assert_eq!((same.authority, bed.events().await.len()), (1, 1));
}

#[tokio::test]
async fn disabling_and_enabling_raise_the_authority() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let off = bed.users.disable(&bed.realm, &alice.id, "root").await.unwrap();
    let on = bed.users.enable(&bed.realm, &alice.id, "root").await.unwrap();
    assert_eq!((off.disabled, off.authority, on.disabled, on.authority), (true, 2, false, 3));
    assert_eq!(bed.events().await[1].1["changes"], json!({"disabled": true}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_grants_and_withdrawals_all_take_effect() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let tasks = (0..8).map(|n| {
        let (users, realm, id) = (bed.users.clone(), bed.realm.clone(), alice.id.clone());
        let role = roles(&[&format!("role-{n}")]);
        tokio::spawn(async move {
            users.change_roles(&realm, &id, &RoleChange::Grant(role.clone()), "a").await.unwrap();
            if n % 2 == 0 {
                users.change_roles(&realm, &id, &RoleChange::Withdraw(role), "a").await.unwrap();
            }
        })
    });
    for done in join_all(tasks).await {
        done.unwrap();
    }
    let user = bed.users.load(&bed.realm, &alice.id).await.unwrap().unwrap();
    assert_eq!(user.roles, roles(&["customer", "role-1", "role-3", "role-5", "role-7"]));
    assert_eq!((user.authority, bed.events().await.len()), (13, 13));
}

#[tokio::test]
async fn there_is_nothing_to_change_about_nobody() {
    let bed = Bed::new();
    let id = UserId::new("usr_x").unwrap();
    let refused = bed.users.disable(&bed.realm, &id, "root").await.unwrap_err();
    assert_eq!(refused, ChangeRefused::Unknown(id));
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error_and_not_a_missing_user() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    bed.records.down.store(true, Ordering::SeqCst);
    assert!(bed.users.load(&bed.realm, &alice.id).await.is_err());
    let register = bed.users.register(&bed.realm, new_user("bob"), "test").await;
    assert!(matches!(register, Err(RegisterRefused::Store(StoreError::Unavailable { .. }))));
    let disable = bed.users.disable(&bed.realm, &alice.id, "root").await;
    assert!(matches!(disable, Err(ChangeRefused::Store(_))));
}

#[tokio::test]
async fn lists_users_page_by_page() {
    let bed = Bed::new();
    for name in ["a1", "a2", "a3", "a4", "a5"] {
        bed.user(name, None).await;
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = Page { after: after.clone(), limit: 2 };
        let users = bed.users.list(&bed.realm, page).await.unwrap();
        let Some(last) = users.last() else { break };
        after = Some(last.id.as_str().to_owned());
        seen.extend(users);
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|a, b| a.id < b.id));
}

/// Notes who may do less.
#[derive(Default)]
struct Noted {
    who: parking_lot::Mutex<Vec<UserId>>,
    records: parking_lot::Mutex<Option<Arc<dyn Records>>>,
}

impl Narrowing for Noted {
    fn commit<'a>(
        &'a self,
        batch: Batch,
        user: &'a User,
        _: &'a str,
    ) -> BoxFuture<'a, Result<(), CommitRefused>> {
        let records = self.records.lock().clone().unwrap();
        Box::pin(async move {
            records.commit(batch).await?;
            self.who.lock().push(user.id.clone());
            Ok(())
        })
    }
}

#[tokio::test]
async fn it_is_told_who_may_do_less_and_of_nobody_else() {
    let bed = Bed::new();
    let noted = Arc::new(Noted::default());
    *noted.records.lock() = Some(bed.records.clone());
    let users = bed.users.clone().telling(noted.clone());
    let alice = bed.user("alice", None).await;
    let change = async |change: RoleChange| {
        users.change_roles(&bed.realm, &alice.id, &change, "root").await.unwrap();
        noted.who.lock().len()
    };
    assert_eq!(change(RoleChange::Grant(roles(&["admin"]))).await, 0);
    assert_eq!(change(RoleChange::Withdraw(roles(&["auditor"]))).await, 0);
    assert_eq!(change(RoleChange::Withdraw(roles(&["admin"]))).await, 1);
    assert_eq!(change(RoleChange::Set(roles(&["admin"]))).await, 2);
    assert_eq!(noted.who.lock().as_slice(), [alice.id.clone(), alice.id]);
}
