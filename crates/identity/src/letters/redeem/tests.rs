use tegata_core::{Batch, Timestamp, port::Change};

use super::*;
use crate::{
    credential::password::PasswordRecord,
    letters::{Waiting, Wish},
    name::Locale,
    testing::{Bed, address, new_user, typed},
};

const NEXT: &str = "another long phrase of mine";

struct World {
    bed: Bed,
    letters: Letters,
    alice: UserId,
}

fn mail(text: &str) -> EmailAddress {
    EmailAddress::new(text).unwrap()
}

impl World {
    /// Alice, who may have a password.
    async fn new(has_password: bool) -> Self {
        let bed = Bed::new();
        let phc = bed.hasher.hash(&typed("correct horse battery"), bed.node.entropy()).unwrap();
        let new = NewUser {
            email: Some(mail("alice@people.example")),
            password: has_password.then_some(phc),
            ..new_user("alice")
        };
        let alice = bed.users.register(&bed.realm, new, "test").await.unwrap().id;
        let letters = bed.letters();
        Self { bed, letters, alice }
    }

    /// A letter that somebody wishes for, and what its link carries.
    async fn letter(&self, wish: Wish) -> (Letter, String) {
        let (realm, lang) = (&self.bed.realm, Locale::new("en").unwrap());
        self.letters.order(realm, wish, &lang, address("192.0.2.1")).await.unwrap();
        self.letters.make(realm).await.unwrap();
        let mut walk = Waiting::New.walk();
        let due = self.letters.due(realm, &mut walk).await.unwrap().unwrap();
        let letter = due.into_iter().find(|letter| letter.content.has_link()).unwrap();
        let link = self.letters.keys.link(realm, letter.key()).unwrap();
        (letter, link.expose().clone())
    }

    async fn to_reset(&self) -> String {
        self.letter(Wish::Reset { account: "alice".to_owned() }).await.1
    }

    async fn to_move(&self) -> (Letter, String) {
        let address = EmailAddress::typed("alice@elsewhere.example").unwrap();
        self.letter(Wish::NewAddress { user: self.alice.clone(), address }).await
    }

    /// Somebody else changes something right before the next commit.
    fn meanwhile(&self, change: Change) {
        let batch = Batch::new(self.bed.realm.clone()).with(change);
        *self.bed.records.meanwhile.lock() = Some(batch);
    }

    /// The change that makes Alice another.
    async fn changed(&self, change: impl FnOnce(&mut User)) -> Change {
        let found = self.bed.users.versioned(&self.bed.realm, &self.alice).await.unwrap().unwrap();
        let mut next = found.value.clone();
        change(&mut next);
        found.replace(&next)
    }

    /// The change that makes her password another.
    async fn other_password(&self, change: impl FnOnce(&mut PasswordRecord)) -> Change {
        let records = self.bed.records.as_ref();
        let key = self.alice.as_str();
        let found = load::<PasswordRecord>(records, &self.bed.realm, key).await.unwrap().unwrap();
        let mut next = found.value.clone();
        change(&mut next);
        found.replace(&next)
    }

    async fn confirm(&self, link: &str) -> Result<User, LinkRefused> {
        self.letters.confirm_address(&self.bed.realm, link, &self.alice).await
    }

    async fn choose(&self, link: &str) -> Result<Chosen, LinkRefused> {
        self.letters.choose_password(&self.bed.realm, link, NEXT.to_owned()).await
    }
}

#[tokio::test]
async fn an_address_that_is_confirmed_meanwhile_ends_what_its_mailbox_before_was_sent() {
    let world = World::new(true).await;
    let link = world.to_reset().await;
    world.meanwhile(world.changed(|it| it.email = Some(mail("alice@elsewhere.example"))).await);
    assert_eq!(world.choose(&link).await, Err(LinkRefused::Over));
    let generation = world.bed.passwords.generation(&world.bed.realm, &world.alice).await;
    assert_eq!(generation, Ok(1));
}

#[tokio::test]
async fn what_else_changes_of_a_person_meanwhile_ends_no_link() {
    let world = World::new(true).await;
    let link = world.to_reset().await;
    world.meanwhile(world.changed(|it| it.roles.clear()).await);
    assert!(matches!(world.choose(&link).await, Ok(Chosen::Another(_))));
    assert_eq!(world.choose(&link).await, Err(LinkRefused::Over));
    let (_, link) = world.to_move().await;
    // The same password, hashed anew.
    world.meanwhile(world.other_password(|it| it.changed = Timestamp::from_secs(1)).await);
    assert!(world.confirm(&link).await.is_ok());
}

#[tokio::test]
async fn a_password_that_is_changed_meanwhile_ends_a_link_to_another_address() {
    for has_password in [true, false] {
        let world = World::new(has_password).await;
        let (_, link) = world.to_move().await;
        let change = if has_password {
            world.other_password(|it| it.generation += 1).await
        } else {
            let phc = world.bed.hasher.hash(&typed(NEXT), world.bed.node.entropy()).unwrap();
            let now = world.bed.node.now();
            PasswordRecord::first(world.alice.clone(), phc, now).put(Expect::Absent)
        };
        world.meanwhile(change);
        assert_eq!(world.confirm(&link).await, Err(LinkRefused::Over));
        let alice = world.bed.users.load(&world.bed.realm, &world.alice).await.unwrap().unwrap();
        assert_eq!(alice.email, Some(mail("alice@people.example")));
    }
}

#[tokio::test]
async fn a_link_that_was_used_meanwhile_is_not_tried_again_and_again() {
    let world = World::new(true).await;
    let (letter, link) = world.to_move().await;
    let (kind, key, expect) = (Letter::KIND, letter.key().to_owned(), Expect::Any);
    world.meanwhile(Change::Remove { kind, key, expect });
    world.bed.records.loads();
    assert_eq!(world.confirm(&link).await, Err(LinkRefused::Over));
    let looked = world.bed.records.loads().iter().filter(|kind| **kind == User::KIND.name).count();
    assert_eq!(looked, 2);
}
