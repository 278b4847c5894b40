//! Refreshing, one step after the other.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tegata_core::{
    Batch, BoxFuture, Epoch, KeyId, Log, ManualClock, Node, Realm, Records, SeededEntropy,
    SessionId, StoreError, Timestamp,
};
use tegata_store::{Adverse, MemoryRecords, Mischief};
use tegata_token::{
    Binding, Entry, Family, Holder, Holders, Lifetimes, Narrowed, Order, RefreshRefused, Revoked,
    Scope, Standing, Tally, Verdict, View, Wider, Withdrawable,
    claims::Claims,
    families::{Beginning, Issue, Refresh},
};

use super::world::{PAST_THE_WINDOW, World, beginning, elsewhere, home};

fn token(issue: &Issue) -> &str {
    issue.refresh_token.expose()
}

/// The claims by which the access token of an issue is refused or not.
fn claims(issue: &Issue) -> Claims {
    Claims {
        sub: issue.family.user.to_string(),
        jti: issue.family.access.jti.to_string(),
        fid: Some(issue.family.id.to_string()),
        iat: issue.family.access.iat,
        ..Claims::default()
    }
}

fn refused_by(view: &View, issue: &Issue) -> Option<Revoked> {
    let place = Some(issue.family.access.status);
    view.realm(&Realm::default()).check_claims(&claims(issue), place, "key")
}

#[tokio::test]
async fn each_refresh_gives_the_next_generation() {
    let (world, _) = World::in_memory().await;
    let mut issue = world.begin().await;
    let mut seen = HashSet::from([token(&issue).to_owned()]);
    for generation in 1..=5 {
        let next = world.refresh(token(&issue)).await.unwrap();
        assert_eq!(next.family.generation, generation);
        assert!(!next.repeated && seen.insert(token(&next).to_owned()));
        assert_ne!(next.family.access.jti, issue.family.access.jti);
        issue = next;
    }
}

#[tokio::test]
async fn a_lost_answer_is_given_again_to_the_letter() {
    let (world, clock) = World::in_memory().await;
    let first = world.begin().await;
    let lost = world.refresh(token(&first)).await.unwrap();
    clock.advance(Duration::from_secs(9));
    let again = world.refresh(token(&first)).await.unwrap();
    assert!(again.repeated);
    assert_eq!(token(&again), token(&lost));
    assert_eq!(again.family.access, lost.family.access);
    // Presenting the successor closes the window.
    world.refresh(token(&lost)).await.unwrap();
    assert_eq!(world.refresh(token(&first)).await.unwrap_err(), Verdict::Reused.into());
}

#[tokio::test]
async fn a_token_used_twice_ends_its_family_and_everything_it_gave() {
    let (world, clock) = World::in_memory().await;
    let first = world.begin().await;
    let second = world.refresh(token(&first)).await.unwrap();
    clock.advance(PAST_THE_WINDOW);
    assert_eq!(refused_by(world.revoker.view(), &second), None);

    let reused = world.refresh_from(token(&first), &elsewhere()).await.unwrap_err();
    assert_eq!(reused, Verdict::Reused.into());
    for issue in [&first, &second] {
        assert!(refused_by(world.revoker.view(), issue).is_some());
        let after = world.refresh(token(issue)).await.unwrap_err();
        assert_eq!(after, Verdict::Revoked.into());
    }

    let journal = world.records.pull(Log::Journal, 0, 100).await.unwrap();
    let event: serde_json::Value =
        serde_json::from_slice(&journal.entries.last().unwrap().body).unwrap();
    assert_eq!(event["type"], "FAMILY_REVOKED");
    assert_eq!(event["data"]["verdict"], "reused");
    assert_eq!(event["data"]["family"], first.family.id.as_str());
}

#[tokio::test]
async fn another_node_learns_it_from_the_log_and_from_the_feed() {
    let (world, _) = World::in_memory().await;
    let issue = world.begin().await;
    let follower = View::new(world.node.clone());
    assert_eq!(follower.staleness(), None);
    follower.catch_up(world.records.as_ref()).await.unwrap();
    assert_eq!(follower.staleness(), Some(Duration::ZERO));
    assert_eq!(refused_by(&follower, &issue), None);

    let order = Order { reason: "stolen".into(), actor: "usr_9".into() };
    assert!(world.families.revoke(&world.realm, &issue.family.id, &order).await.unwrap());
    assert!(!world.families.revoke(&world.realm, &issue.family.id, &order).await.unwrap());
    follower.catch_up(world.records.as_ref()).await.unwrap();
    assert!(refused_by(&follower, &issue).is_some());
    assert!(follower.position() > 0);
}

/// Tokens of an hour, then a configuration in which they live a minute, and the node anew.
#[tokio::test]
async fn what_was_taken_back_stays_so_when_tokens_are_to_live_shorter() {
    let (plain, clock) = World::in_memory().await;
    let (records, feed) = (&plain.records, &plain.feed);
    let living = async |secs| {
        let lifetimes = Lifetimes { access: Duration::from_secs(secs), ..Lifetimes::default() };
        let (records, feed) = (records.clone(), feed.clone());
        World::living(lifetimes, Epoch::FIRST, records, plain.node.clone(), feed).await
    };
    let before = living(3600).await;
    let order = Order { reason: "stolen".into(), actor: "usr_9".into() };
    let (early, late) = (before.begin().await, before.begin().await);
    let dies = late.family.access.exp;
    before.families.revoke(&before.realm, &early.family.id, &order).await.unwrap();

    let after = living(60).await;
    after.families.revoke(&after.realm, &late.family.id, &order).await.unwrap();
    let log = records.pull(Log::Revocations, 0, 100).await.unwrap();
    for entry in &log.entries {
        let entry = Entry::from_bytes(&entry.body).unwrap();
        assert!(entry.until.secs() >= dies, "{:?} is to be forgotten too early", entry.target);
    }
    clock.jump(Timestamp::from_secs(dies - 1));
    let restarted = View::new(after.node.clone());
    restarted.catch_up(records.as_ref()).await.unwrap();
    for view in [after.revoker.view(), &restarted] {
        view.catch_up(records.as_ref()).await.unwrap();
        view.forget();
        let realm = view.realm(&after.realm);
        for issue in [&early, &late] {
            assert!(refused_by(view, issue).is_some());
            // Also whoever knows the token by its place alone.
            let place = issue.family.access.status;
            assert!(realm.list(place.list).is_some_and(|bits| bits.is_revoked(place.index)));
        }
    }
}

#[tokio::test]
async fn a_scope_can_be_narrowed_and_widened_again_but_never_beyond_the_grant() {
    let (world, _) = World::in_memory().await;
    let issue = world.begin().await;
    let client = "web".parse().unwrap();
    let binding = home();
    let refresh = async |token: &str, scope: &str| {
        let narrowed = Narrowed { scope: Scope::new(scope).ok(), ..Narrowed::default() };
        let asked = Refresh {
            token,
            client: &client,
            binding: &binding,
            attempt: None,
            narrowed: &narrowed,
            rotates: true,
            as_of: None,
        };
        world.families.refresh(&world.realm, &asked, &super::world::Anybody).await
    };
    let wide = refresh(token(&issue), "orders.read admin").await.unwrap_err();
    assert_eq!(wide, RefreshRefused::Wider(Wider::Scope));
    let narrow = refresh(token(&issue), "orders.read").await.unwrap();
    assert_eq!(narrow.family.access.scope.as_str(), "orders.read");
    let back = refresh(token(&narrow), "orders.read orders.write").await.unwrap();
    assert_eq!(back.family.access.scope.as_str(), "orders.read orders.write");
}

#[tokio::test]
async fn what_does_not_rotate_stays_the_same_token_and_is_not_lost_while_it_is_used() {
    let (world, clock) = World::in_memory().await;
    let issue = world.begin().await;
    let client = "web".parse().unwrap();
    let (binding, narrowed) = (Binding::Client, Narrowed::default());
    let mut last = issue.clone();
    for _ in 0..30 {
        clock.advance(Duration::from_secs(86_000));
        let asked = Refresh {
            token: token(&issue),
            client: &client,
            binding: &binding,
            attempt: None,
            narrowed: &narrowed,
            rotates: false,
            as_of: None,
        };
        let refreshed =
            world.families.refresh(&world.realm, &asked, &super::world::Anybody).await.unwrap();
        assert_eq!(token(&refreshed), token(&issue));
        assert_ne!(refreshed.family.access.jti, last.family.access.jti);
        assert_eq!(refreshed.family.generation, 0);
        last = refreshed;
    }
}

#[tokio::test]
async fn what_was_spent_before_a_client_stopped_rotating_is_still_reused() {
    let (world, clock) = World::in_memory().await;
    let first = world.begin().await;
    let second = world.refresh(token(&first)).await.unwrap();
    clock.advance(Duration::from_secs(60));
    let client = "web".parse().unwrap();
    let (binding, narrowed) = (home(), Narrowed::default());
    let asked = |token| Refresh {
        token,
        client: &client,
        binding: &binding,
        attempt: None,
        narrowed: &narrowed,
        rotates: false,
        as_of: None,
    };
    let refresh = async |token| {
        world.families.refresh(&world.realm, &asked(token), &super::world::Anybody).await
    };
    assert!(refresh(token(&second)).await.is_ok());
    let reused = refresh(token(&first)).await.unwrap_err();
    assert_eq!(reused, RefreshRefused::Verdict(Verdict::Reused));
    assert!(refresh(token(&second)).await.is_err());
}

#[tokio::test]
async fn forged_altered_and_foreign_tokens_are_orphans_and_end_nothing() {
    let (world, _) = World::in_memory().await;
    let issue = world.begin().await;
    let text = token(&issue);
    let (head, mac) = text.rsplit_once('.').unwrap();
    let flipped = if mac.starts_with('A') { "B" } else { "A" };
    let altered = format!("{head}.{flipped}{}", &mac[1..]);
    let ahead = text.replace(".0.", ".1.");
    for bad in [altered.as_str(), &ahead, "rt_1", "", "x.y.z"] {
        assert_eq!(world.refresh(bad).await.unwrap_err(), Verdict::Orphan.into(), "{bad}");
    }
    let client = "other".parse().unwrap();
    let asked = Refresh {
        token: text,
        client: &client,
        binding: &home(),
        attempt: None,
        narrowed: &Narrowed::default(),
        rotates: true,
        as_of: None,
    };
    let foreign = world.families.refresh(&world.realm, &asked, &super::world::Anybody).await;
    assert_eq!(foreign.unwrap_err(), Verdict::Orphan.into());
    let elsewhere = Realm::new("elsewhere").unwrap();
    let client = "web".parse().unwrap();
    let asked = Refresh {
        token: text,
        client: &client,
        binding: &home(),
        attempt: None,
        narrowed: &Narrowed::default(),
        rotates: true,
        as_of: None,
    };
    let other_realm = world.families.refresh(&elsewhere, &asked, &super::world::Anybody).await;
    assert_eq!(other_realm.unwrap_err(), Verdict::Orphan.into());
    assert!(world.refresh(text).await.is_ok());
}

/// Somebody whose permissions change, or who is gone. A fake.
struct Changing(AtomicU64);

impl Holders for Changing {
    fn standing<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a Family,
    ) -> BoxFuture<'a, Result<Standing, StoreError>> {
        Box::pin(async move {
            Ok(match self.0.load(Ordering::SeqCst) {
                0 => Standing::Gone,
                authority => {
                    Standing::Good { authority, unchanged: None, most: None, lowered: None }
                }
            })
        })
    }
}

#[tokio::test]
async fn what_was_issued_under_other_permissions_is_not_given_again() {
    let (world, _) = World::in_memory().await;
    let first = world.begin().await;
    let (client, binding) = ("web".parse().unwrap(), home());
    let holder = Changing(AtomicU64::new(1));
    let asked = Refresh {
        token: token(&first),
        client: &client,
        binding: &binding,
        attempt: None,
        narrowed: &Narrowed::default(),
        rotates: true,
        as_of: None,
    };
    world.families.refresh(&world.realm, &asked, &holder).await.unwrap();
    holder.0.store(2, Ordering::SeqCst);
    let again = world.families.refresh(&world.realm, &asked, &holder).await.unwrap_err();
    assert_eq!(again, Verdict::Stale.into());
    assert!(world.stored(&first).await.ended.is_none());
}

/// Somebody whose tokens a key signs that changes. A fake.
struct SignedBy(Mutex<Option<KeyId>>);

impl Holders for SignedBy {
    fn standing<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a Family,
    ) -> BoxFuture<'a, Result<Standing, StoreError>> {
        let good = Standing::Good { authority: 1, unchanged: None, most: None, lowered: None };
        Box::pin(async move { Ok(good) })
    }

    fn signer(&self) -> Option<KeyId> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn one_name_never_stands_in_tokens_of_two_keys() {
    let (world, _) = World::in_memory().await;
    let first = world.begin().await;
    let (client, binding) = ("web".parse().unwrap(), home());
    let asked = Refresh {
        token: token(&first),
        client: &client,
        binding: &binding,
        attempt: None,
        narrowed: &Narrowed::default(),
        rotates: true,
        as_of: None,
    };
    let key = |name: &str| Some(KeyId::new(name).unwrap());
    let holder = SignedBy(Mutex::new(key("k1")));
    let refresh = || world.families.refresh(&world.realm, &asked, &holder);
    let spent = refresh().await.unwrap();
    assert_eq!(spent.family.access.kid, key("k1"));
    // Given again, it is the same; where it is not known which key signs, too.
    for kid in [key("k1"), None] {
        *holder.0.lock().unwrap() = kid;
        let again = refresh().await.unwrap();
        assert!(again.repeated);
        assert_eq!(again.family.access, spent.family.access);
    }
    // The key is another by then: so is the access token, and its successor is the same.
    *holder.0.lock().unwrap() = key("k2");
    let renewed = refresh().await.unwrap();
    assert_ne!(renewed.family.access.jti, spent.family.access.jti);
    assert_eq!(renewed.family.access.kid, key("k2"));
    assert_eq!(token(&renewed), token(&spent));
    assert_eq!(renewed.family.earlier.last(), Some(&spent.family.access));
    assert_eq!(refresh().await.unwrap().family.access, renewed.family.access);
}

#[tokio::test]
async fn whoever_is_gone_is_refused_and_their_family_ended() {
    let (world, _) = World::in_memory().await;
    let first = world.begin().await;
    let (client, binding) = ("web".parse().unwrap(), home());
    let asked = Refresh {
        token: token(&first),
        client: &client,
        binding: &binding,
        attempt: None,
        narrowed: &Narrowed::default(),
        rotates: true,
        as_of: None,
    };
    let gone = Changing(AtomicU64::new(0));
    for _ in 0..2 {
        let refused = world.families.refresh(&world.realm, &asked, &gone).await.unwrap_err();
        assert_eq!(refused, Verdict::Revoked.into());
    }
    assert!(refused_by(world.revoker.view(), &first).is_some());
}

#[tokio::test]
async fn families_of_an_earlier_epoch_do_not_count_after_a_restore() {
    let (world, _) = World::in_memory().await;
    let issue = world.begin().await;
    let restored =
        World::in_epoch(Epoch(2), world.records.clone(), world.node.clone(), world.feed.clone())
            .await;
    let refused = restored.refresh(token(&issue)).await.unwrap_err();
    assert_eq!(refused, Verdict::Revoked.into());
    // Nor does anybody say of them how they stand, as introspection does.
    let found = restored.families.of_token(&restored.realm, token(&issue)).await.unwrap();
    assert!(found.is_none());
    let anew = restored.begin().await;
    assert!(anew.family.id.as_str().starts_with("2."));
    let found = restored.families.of_token(&restored.realm, token(&anew)).await.unwrap();
    assert!(found.is_some());
    assert!(restored.refresh(token(&anew)).await.is_ok());
}

#[tokio::test]
async fn a_kill_switch_ends_all_families_of_a_person_and_of_nobody_else() {
    let (world, _) = World::in_memory().await;
    let mut mine = vec![];
    for _ in 0..7 {
        mine.push(world.begin().await);
    }
    let theirs = {
        let mut other = beginning();
        other.user = "usr_2".parse().unwrap();
        let (issue, change) = world.families.begin(&world.realm, other).await.unwrap();
        let batch = Batch::new(world.realm.clone()).with(change);
        world.records.commit(batch).await.unwrap();
        issue
    };
    let order = Order { reason: "stolen".into(), actor: "system".into() };
    let holder = Holder::User("usr_1".parse().unwrap());
    let families: Arc<dyn Withdrawable> = Arc::new(world.families.clone());
    assert_eq!(
        families.withdraw(&world.realm, &holder, &order, &Tally::default()).await.unwrap(),
        7
    );
    assert_eq!(
        families.withdraw(&world.realm, &holder, &order, &Tally::default()).await.unwrap(),
        0
    );
    for issue in &mine {
        assert_eq!(world.refresh(token(issue)).await.unwrap_err(), Verdict::Revoked.into());
        assert!(refused_by(world.revoker.view(), issue).is_some());
    }
    assert!(world.refresh(token(&theirs)).await.is_ok());
}

/// Many end in one batch, also while some of them are being used: then each by itself.
#[tokio::test]
async fn a_kill_switch_ends_many_at_once_also_while_they_are_used() {
    let clock = Arc::new(ManualClock::default());
    let memory: Arc<dyn Records> =
        Arc::new(MemoryRecords::new(&super::world::kinds(), clock.clone()).unwrap());
    let world = World::on(memory, clock.clone(), 1).await;
    let adverse = Adverse::new(world.records.clone(), 7, Mischief::delays());
    let node = Node::with(clock, Arc::new(SeededEntropy::new(2)));
    let slow = World::with(Arc::new(adverse), node, world.feed.clone()).await;
    let mut mine = vec![];
    for _ in 0..350 {
        mine.push(world.begin().await);
    }
    let order = Order { reason: "stolen".into(), actor: "system".into() };
    let holder = Holder::User("usr_1".parse().unwrap());
    let using = futures_util::future::join_all(
        mine.iter()
            .rev()
            .map(|issue| async { u32::from(slow.refresh(token(issue)).await.is_ok()) }),
    );
    let tally = Tally::watched();
    let ended = slow.families.withdraw(&world.realm, &holder, &order, &tally);
    let (refreshed, ended) = tokio::join!(using, ended);
    assert_eq!(ended.unwrap(), 350);
    assert_eq!(tally.read(), (350, 350));
    assert!((1..=350).contains(&refreshed.iter().sum::<u32>()), "{refreshed:?}");
    slow.revoker.view().catch_up(slow.records.as_ref()).await.unwrap();
    for issue in &mine {
        assert!(world.stored(issue).await.ended.is_some());
        assert!(refused_by(slow.revoker.view(), issue).is_some());
    }
}

#[tokio::test]
async fn a_refresh_writes_no_event_but_ending_does() {
    let (world, _) = World::in_memory().await;
    let issue = world.begin().await;
    let next = world.refresh(token(&issue)).await.unwrap();
    let count = async || world.records.pull(Log::Journal, 0, 100).await.unwrap().entries.len();
    assert_eq!(count().await, 0);
    let order = Order { reason: "logout".into(), actor: "usr_1".into() };
    world.families.revoke(&world.realm, &next.family.id, &order).await.unwrap();
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn what_refresh_and_revocation_write_holds_no_token() {
    let (world, _) = World::in_memory().await;
    let issue = world.begin().await;
    let mac = token(&issue).rsplit_once('.').unwrap().1.to_owned();
    let stored = format!("{:?}", world.stored(&issue).await);
    assert!(!stored.contains(&mac));
    assert!(!format!("{issue:?}").contains(&mac));
}

#[tokio::test]
async fn places_are_never_given_twice_across_nodes_and_quarters() {
    let (world, clock) = World::in_memory().await;
    let other = World::with(world.records.clone(), world.node.clone(), world.feed.clone()).await;
    let mut places = HashSet::new();
    for round in 0..4 {
        for _ in 0..200 {
            for node in [&world, &other] {
                let issue = node.begin().await;
                assert!(places.insert(issue.family.access.status), "round {round}");
            }
        }
        clock.advance(Duration::from_secs(900));
    }
}

#[tokio::test]
async fn a_token_of_a_clock_that_is_ahead_does_not_outlive_a_change_of_permissions() {
    let (world, clock) = World::in_memory().await;
    let change = world.node.now();
    let order = Order { reason: "permissions_changed".into(), actor: "system".into() };
    let user = "usr_1".parse().unwrap();
    clock.advance(Duration::from_secs(20));
    let ahead = world.begin().await;
    let refused = || refused_by(world.revoker.view(), &ahead);
    // What was issued with what they may do now goes on, and what is older falls by its time.
    for (up_to, authority) in [(change, 1), (world.node.now(), 2)] {
        world.families.overtake(&world.realm, &user, (up_to, authority), &order).await.unwrap();
        assert_eq!(refused(), None);
    }
    world.families.overtake(&world.realm, &user, (change, 2), &order).await.unwrap();
    assert_eq!(refused(), Some(Revoked::Token));
    // The family lives, and its next token counts.
    let next = world.refresh(token(&ahead)).await.unwrap();
    assert_eq!(refused_by(world.revoker.view(), &next), None);
}

#[tokio::test]
async fn only_a_token_that_would_be_answered_tells_its_session() {
    const NAME: &str = "0123456789abcdef0123456789abcdef";
    let (world, clock) = World::in_memory().await;
    let node = &world.node;
    let sid =
        SessionId::generate(Epoch::FIRST, node.now() + Duration::from_secs(3600), node.entropy());
    let beginning = Beginning { session: Some(sid.clone()), ..beginning() };
    let (issue, change) = world.families.begin(&world.realm, beginning).await.unwrap();
    world.records.commit(Batch::new(world.realm.clone()).with(change)).await.unwrap();
    let told = async |client: &str, name: &str| {
        let (client, home) = (client.parse().unwrap(), home());
        let families = &world.families;
        families.session_of(&world.realm, token(&issue), &client, &home, name).await.unwrap()
    };
    assert_eq!(told("web", NAME).await, Some(sid.clone()));
    assert_eq!(told("another", NAME).await, None);
    // It would be answered within the window, but who spent it had another name.
    let (client, narrowed) = ("web".parse().unwrap(), Narrowed::default());
    let spent = Refresh {
        token: token(&issue),
        client: &client,
        binding: &home(),
        attempt: Some(NAME),
        narrowed: &narrowed,
        rotates: true,
        as_of: None,
    };
    world.families.refresh(&world.realm, &spent, &super::world::Anybody).await.unwrap();
    assert_eq!(told("web", NAME).await, Some(sid));
    assert_eq!(told("web", "fedcba9876543210fedcba9876543210").await, None);
    clock.advance(Lifetimes::default().idle);
    assert_eq!(told("web", NAME).await, None);
}
