//! Changing several things of a user at once, on conditions.

use super::*;
use crate::name::EmailAddress;

fn admin() -> Role {
    Role::new("admin").unwrap()
}

fn with_roles(names: &[&str]) -> Amendment {
    Amendment { roles: Some(roles(names)), ..Amendment::default() }
}

#[tokio::test]
async fn each_change_is_told_by_its_own_event_and_only_permissions_count_as_authority() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let email = EmailAddress::new("a@b.example").unwrap();
    let amend = async |amendment: Amendment| {
        let provided = Provided::default();
        bed.users.amend(&bed.realm, &alice.id, &amendment, provided, "root").await.unwrap()
    };
    let named = amend(Amendment { email: Some(Some(email)), ..Amendment::default() }).await;
    assert_eq!((named.value.authority, named.version), (1, 2));
    let both = Amendment { email: Some(None), disabled: Some(true), ..with_roles(&["admin"]) };
    let changed = amend(both.clone()).await;
    assert_eq!((changed.value.authority, changed.version), (2, 3));
    assert!(changed.value.email.is_none() && changed.value.disabled);
    // Doing it again leaves no trace.
    assert_eq!(amend(both).await, changed);
    let events: Vec<_> = bed.events().await.into_iter().map(|(kind, _)| kind).collect();
    let changed =
        ["REGISTRY_CHANGED", "REGISTRY_CHANGED", "REGISTRY_CHANGED", "PERMISSIONS_CHANGED"];
    assert_eq!(events, changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_changes_of_one_version_one_is_made() {
    let bed = Bed::new();
    let alice = bed.user("alice", None).await;
    let tasks = (0..16).map(|n| {
        let (users, realm, id) = (bed.users.clone(), bed.realm.clone(), alice.id.clone());
        tokio::spawn(async move {
            let provided = Provided { versions: Some(&[1]), ..Provided::default() };
            let amendment = with_roles(&[&format!("role-{n}")]);
            users.amend(&realm, &id, &amendment, provided, "root").await
        })
    });
    let answers: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let overtaken = |answer: &&Result<_, _>| matches!(answer, Err(ChangeRefused::Overtaken(_)));
    assert_eq!(answers.iter().filter(overtaken).count(), 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_take_a_role_from_each_other_one_keeps_it() {
    for _ in 0..20 {
        let bed = Bed::new();
        let (one, other) = (bed.user("one", None).await, bed.user("other", None).await);
        for user in [&one, &other] {
            let change = RoleChange::Set(roles(&["admin"]));
            bed.users.change_roles(&bed.realm, &user.id, &change, "root").await.unwrap();
        }
        let take = |from: UserId, by: UserId| {
            let (users, realm) = (bed.users.clone(), bed.realm.clone());
            tokio::spawn(async move {
                let provided = Provided { asker: Some((&by, &admin())), ..Provided::default() };
                users.amend(&realm, &from, &with_roles(&[]), provided, by.as_str()).await
            })
        };
        let both = [take(one.id.clone(), other.id.clone()), take(other.id.clone(), one.id.clone())];
        let answers: Vec<_> = join_all(both).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
        let refused = |it: &&Result<_, _>| matches!(it, Err(ChangeRefused::AskerRefused(_)));
        assert_eq!(answers.iter().filter(refused).count(), 1, "{answers:?}");
    }
}

#[tokio::test]
async fn who_has_not_the_role_or_is_disabled_changes_nobody_and_oneself_neither() {
    let bed = Bed::new();
    let (alice, bob) = (bed.user("alice", None).await, bed.user("bob", None).await);
    let admin = admin();
    let by_bob = Provided { asker: Some((&bob.id, &admin)), ..Provided::default() };
    for target in [&alice.id, &bob.id] {
        let change = with_roles(&["admin"]);
        let refused = bed.users.amend(&bed.realm, target, &change, by_bob, "bob").await;
        assert!(matches!(refused, Err(ChangeRefused::AskerRefused(_))), "{refused:?}");
    }
    let grant = RoleChange::Grant(roles(&["admin"]));
    bed.users.change_roles(&bed.realm, &bob.id, &grant, "root").await.unwrap();
    bed.users.amend(&bed.realm, &alice.id, &with_roles(&["x"]), by_bob, "bob").await.unwrap();
    bed.users.disable(&bed.realm, &bob.id, "root").await.unwrap();
    let refused = bed.users.amend(&bed.realm, &alice.id, &with_roles(&[]), by_bob, "bob").await;
    assert!(matches!(refused, Err(ChangeRefused::AskerRefused(_))), "{refused:?}");
}

/// What a person has answered mail at is not what somebody else says their address is.
#[tokio::test]
async fn an_address_that_others_give_was_answered_by_nobody() {
    let bed = Bed::new();
    let address = |text: &str| EmailAddress::new(text).unwrap();
    let new = NewUser { email: Some(address("alice@example.com")), ..new_user("alice") };
    let alice = bed.users.register_with(&bed.realm, new, true, None, "test").await.unwrap();
    let amend = async |email: Option<EmailAddress>| {
        let amendment = Amendment { email: Some(email), ..Amendment::default() };
        let provided = Provided::default();
        bed.users.amend(&bed.realm, &alice.id, &amendment, provided, "root").await.unwrap()
    };
    assert!(amend(Some(address("alice@EXAMPLE.com"))).await.value.email_verified);
    assert!(!amend(Some(address("mallory@example.com"))).await.value.email_verified);
    // That it is the old one again proves nothing.
    assert!(!amend(Some(address("alice@example.com"))).await.value.email_verified);
    assert!(!amend(None).await.value.email_verified);
}
