//! What applications keep with a session.

use std::sync::Arc;

use tegata_core::SessionId;
use tegata_session::{
    Passage, Presentation, Reason, Rise, Traits, Verdict,
    sessions::{DataRefused, Expected, Kept, Name},
};
use tegata_store::{Adverse, Mischief};

use super::{
    stores::Store,
    world::{World, given, home},
};

const SHOP: &str = "shop";

impl World {
    async fn set(&self, sid: &SessionId, name: &str, value: &str) -> Result<Kept, DataRefused> {
        self.set_if(sid, (SHOP, name), Some(value), &Expected::Anything).await.map(Option::unwrap)
    }

    async fn set_if(
        &self,
        sid: &SessionId,
        (owner, name): (&str, &str),
        value: Option<&str>,
        expected: &Expected,
    ) -> Result<Option<Kept>, DataRefused> {
        self.sessions.set_data(&self.realm, sid, Name { owner, name }, value, expected).await
    }

    /// What an owner keeps, as `name=value`.
    async fn kept(&self, sid: &SessionId, owner: &str) -> Option<String> {
        let data = self.sessions.data(&self.realm, sid, owner).await.unwrap()?;
        let pairs: Vec<_> =
            data.iter().map(|(name, kept)| format!("{name}={}", kept.value)).collect();
        Some(pairs.join(" "))
    }
}

pub(crate) async fn is_kept_across_rotations_and_rises_and_can_be_removed(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let sid = &begun.session.id;
    world.set(sid, "cart_id", "17").await.unwrap();
    world.advance(300);
    let next = given(&world.present(begun.cookie.expose()).await.unwrap());
    let shown =
        Presentation { value: &next, binding: &home(), traits: &Traits::default(), rotates: true };
    let rise = Rise { standing: begun.session.standing.clone(), requires: None };
    let raised: Passage = world.sessions.raise(&world.realm, &shown, &rise).await.unwrap().unwrap();
    world.present(&given(&raised)).await.unwrap();
    assert_eq!(world.kept(sid, SHOP).await.unwrap(), "cart_id=17");
    world.set_if(sid, (SHOP, "cart_id"), None, &Expected::Anything).await.unwrap();
    assert!(world.stored(sid).await.data.is_empty());
}

pub(crate) async fn is_gone_with_the_session(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let sid = &begun.session.id;
    world.set(sid, "cart_id", "17").await.unwrap();
    world.sessions.end(&world.realm, sid, &Reason::Logout, "usr_1").await.unwrap();
    assert_eq!(world.kept(sid, SHOP).await, None);
    assert!(world.stored(sid).await.data.is_empty(), "not even in the record");
    assert_eq!(world.set(sid, "cart_id", "18").await, Err(DataRefused::NoSession));

    let asleep = world.sign_in("usr_1").await;
    world.set(&asleep.session.id, "cart_id", "17").await.unwrap();
    world.advance(3 * 3_600);
    assert_eq!(world.kept(&asleep.session.id, SHOP).await, None);
    assert_eq!(world.set(&asleep.session.id, "a", "x").await, Err(DataRefused::NoSession));
    let nobody = "1.99999.nobody".parse().unwrap();
    assert_eq!(world.set(&nobody, "a", "x").await, Err(DataRefused::NoSession));
}

pub(crate) async fn keeps_nobody_signed_in(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    for turn in 0..25 {
        world.advance(100);
        world.set(&begun.session.id, "turn", &turn.to_string()).await.ok();
    }
    assert_eq!(world.verdict(begun.cookie.expose()).await, Verdict::Expired);
}

pub(crate) async fn stays_small(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let sid = &begun.session.id;
    let set = async |name: &str, size: usize| world.set(sid, name, &"x".repeat(size)).await;
    assert_eq!(set("a", 2_049).await, Err(DataRefused::TooMuch));
    set("a", 2_047).await.unwrap();
    set("b", 2_047).await.unwrap();
    assert_eq!(set("c", 1).await, Err(DataRefused::TooMuch));
    assert_eq!(world.stored(sid).await.data.len(), 2, "what was refused is not there");
    set("b", 100).await.unwrap();
    for turn in 0..30 {
        set(&format!("n{turn}"), 1).await.unwrap();
    }
    assert_eq!(set("one-more", 1).await, Err(DataRefused::TooMuch));
    for name in ["", "A", "a b", "a/b", "é", "..\n", &"a".repeat(65)] {
        assert_eq!(set(name, 1).await, Err(DataRefused::Name), "{name:?}");
    }
    // Others have room of their own, until all of it is used.
    let value = "x".repeat(2_000);
    let mut kept = 0;
    for owner in ["a", "b", "c", "d", "e", "f"] {
        for name in ["one", "two"] {
            let set = world.set_if(sid, (owner, name), Some(&value), &Expected::Anything).await;
            kept += usize::from(set.is_ok());
        }
    }
    assert_eq!(kept, 6);
}

pub(crate) async fn each_sees_only_its_own(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let sid = &begun.session.id;
    for (owner, value) in [("shop", "1"), ("shop/a", "2"), ("https://x.example/shop", "3")] {
        let set = world.set_if(sid, (owner, "cart"), Some(value), &Expected::Absent).await;
        set.unwrap();
    }
    assert_eq!(world.kept(sid, "shop").await.unwrap(), "cart=1");
    assert_eq!(world.kept(sid, "shop/a").await.unwrap(), "cart=2");
    assert_eq!(world.kept(sid, "https://x.example/shop").await.unwrap(), "cart=3");
    assert_eq!(world.kept(sid, "https://x.example").await.unwrap(), "");
    assert_eq!(world.kept(sid, "").await.unwrap(), "");
}

pub(crate) async fn is_replaced_only_where_it_is_what_was_read(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let (sid, cart) = (&begun.session.id, (SHOP, "cart"));
    let overtaken = Err(DataRefused::Overtaken);
    assert_eq!(world.set_if(sid, cart, Some("1"), &Expected::Present).await, overtaken);
    let first = world.set_if(sid, cart, Some("1"), &Expected::Absent).await.unwrap().unwrap();
    assert_eq!(world.set_if(sid, cart, Some("2"), &Expected::Absent).await, overtaken);
    let is_first = Expected::Version(vec!["another".to_owned(), first.version.clone()]);
    let second = world.set_if(sid, cart, Some("2"), &is_first).await.unwrap().unwrap();
    assert_ne!(second.version, first.version);
    assert_eq!(world.set_if(sid, cart, Some("3"), &is_first).await, overtaken);
    assert_eq!(world.set_if(sid, cart, None, &is_first).await, overtaken);
    assert_eq!(world.kept(sid, SHOP).await.unwrap(), "cart=2");
}

pub(crate) async fn writers_at_once_lose_nothing(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let tasks: Vec<_> = (0..10_u64)
        .map(|turn| {
            let records = Arc::new(Adverse::new(world.records.clone(), turn, Mischief::delays()));
            let ephemeral = world.ephemeral.clone();
            let node = world.beside(records, ephemeral, turn);
            let sid = begun.session.id.clone();
            tokio::spawn(async move { node.set(&sid, &format!("n{turn}"), "x").await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(world.stored(&begun.session.id).await.data.len(), 10);
}

/// Each adds one to the same number, and reads again where it was overtaken.
pub(crate) async fn whoever_compares_loses_no_count(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.set(&begun.session.id, "count", "0").await.unwrap();
    let tasks: Vec<_> = (0..8_u64)
        .map(|turn| {
            let records = Arc::new(Adverse::new(world.records.clone(), turn, Mischief::delays()));
            let ephemeral = world.ephemeral.clone();
            let node = world.beside(records, ephemeral, turn);
            let sid = begun.session.id.clone();
            tokio::spawn(async move {
                loop {
                    let data = node.sessions.data(&node.realm, &sid, SHOP).await.unwrap().unwrap();
                    let Kept { value, version } = data["count"].clone();
                    let next = (value.parse::<u64>().unwrap() + 1).to_string();
                    let as_read = Expected::Version(vec![version]);
                    match node.set_if(&sid, (SHOP, "count"), Some(&next), &as_read).await {
                        Ok(_) => break,
                        Err(DataRefused::Overtaken) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(world.kept(&begun.session.id, SHOP).await.unwrap(), "count=8");
}
