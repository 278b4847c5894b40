use tegata_core::port::{Body, Change};

use super::*;
use crate::{
    letters::{LETTER_KIND, ORDER_KIND},
    name::Locale,
    testing::{self, Bed},
};

struct World {
    bed: Bed,
    letters: Letters,
}

impl World {
    fn new() -> Self {
        let bed = Bed::new();
        let letters = bed.letters();
        Self { bed, letters }
    }

    /// So many people want an account.
    async fn orders(&self, count: usize) {
        let lang = Locale::new("en").unwrap();
        for number in 0..count {
            let address = EmailAddress::typed(&format!("person{number}@people.example")).unwrap();
            let from = testing::address("192.0.2.1");
            let wish = Wish::SignUp { address };
            self.letters.order(&self.bed.realm, wish, &lang, from).await.unwrap();
        }
    }

    /// Everything of a walk.
    async fn all(&self, waiting: Waiting) -> Vec<Letter> {
        let (mut walk, mut all) = (waiting.walk(), Vec::new());
        while let Some(due) = self.letters.due(&self.bed.realm, &mut walk).await.unwrap() {
            all.extend(due);
        }
        all
    }

    /// Makes a record one that nobody can read.
    async fn damage(&self, kind: &'static tegata_core::Kind, key: &str) {
        let indexes = kind.indexes.iter().filter(|name| **name == "posting");
        let change = Change::Put {
            kind,
            key: key.to_owned(),
            expect: Expect::Any,
            body: Body::Plain(vec![0]),
            indexes: indexes.map(|name| (*name, DUE.to_owned())).collect(),
        };
        let batch = Batch::new(self.bed.realm.clone()).with(change);
        tegata_core::Records::commit(self.bed.records.as_ref(), batch).await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_read_holds_up_no_other_wherever_it_stands() {
    let world = World::new();
    world.orders(250).await;
    let mut walk = Walk::all();
    let mut keys = Vec::new();
    while let Some(orders) = world.letters.next::<Order>(&world.bed.realm, &mut walk).await.unwrap()
    {
        keys.extend(orders.into_iter().map(|order| order.value.key().to_owned()));
    }
    assert_eq!(keys.len(), 250);
    // The first, the last, some beside each other.
    let damaged = [0, 57, 58, 99, 100, 249];
    for which in damaged {
        world.damage(&ORDER_KIND, &keys[which]).await;
    }
    world.letters.make(&world.bed.realm).await.unwrap();
    let made = world.all(Waiting::New).await;
    assert_eq!(made.len(), 250 - damaged.len());
    for which in [0, 1, 150, made.len() - 1] {
        world.damage(&LETTER_KIND, made[which].key()).await;
    }
    assert_eq!(world.all(Waiting::New).await.len(), made.len() - 4);
}

#[tokio::test]
async fn what_was_tried_in_vain_is_looked_at_apart_and_when_it_is_due() {
    let world = World::new();
    world.orders(3).await;
    world.letters.make(&world.bed.realm).await.unwrap();
    let letters = world.all(Waiting::New).await;
    let failed = Carried::Failed("away".to_owned());
    for letter in &letters[..2] {
        world.letters.note(&world.bed.realm, letter, &failed).await.unwrap();
    }
    assert_eq!(world.all(Waiting::New).await.len(), 1);
    assert!(world.all(Waiting::Again).await.is_empty());
    world.bed.clock.advance(Duration::from_secs(2));
    assert_eq!(world.all(Waiting::Again).await.len(), 2);
    // What is of no more use is dropped, and is tried no more.
    world.bed.clock.advance(Duration::from_secs(30 * 60));
    for waiting in [Waiting::New, Waiting::Again] {
        assert!(world.all(waiting).await.is_empty());
        let mut walk = waiting.walk();
        assert!(world.letters.due(&world.bed.realm, &mut walk).await.unwrap().is_none());
    }
}
