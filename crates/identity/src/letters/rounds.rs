//! From orders to letters, and what became of those.

use std::time::Duration;

use tegata_core::{
    Batch, BoxFuture, CommitRefused, Expect, Realm, Secret, StoreError, Stored, UserId, Versioned,
    repository::load,
};

use super::{
    Content, Letter, Letters, Order, Walk, Wish,
    letter::{AGAIN, DUE, SETTLED},
};
use crate::{name::EmailAddress, user::User, username::Username};

/// How long an order counts: whoever asked that long ago has asked again.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// The id of no user.
const NOBODY: &str = "usr_nobody";

/// A letter in words.
#[derive(Clone)]
pub struct Written {
    /// To whom.
    pub to: EmailAddress,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub text: Secret<String>,
}

/// Finds the words of letters.
pub trait Writer: Send + Sync {
    /// The words of a letter. `link`: what its link carries, where it has one, or its code.
    fn write(&self, letter: &Letter, link: Option<&Secret<String>>) -> Written;
}

/// Takes letters to people: a mail server.
pub trait Post: Send + Sync {
    /// Takes one. It answers in bounded time.
    fn carry<'a>(&'a self, written: &'a Written) -> BoxFuture<'a, Carried>;
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// Somebody has it who will see to the rest.
    Taken,
    /// Nobody will ever take it, for this reason.
    Refused(String),
    /// It is not known to have been taken, for this reason.
    Failed(String),
}

/// Which letters are to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Those that nobody has tried to send.
    New,
    /// Those that were tried in vain. While a mail server is away these are all, and none is due soon:
    /// they are looked at less often.
    Again,
}

impl Waiting {
    /// Begins to go over them.
    #[must_use]
    pub const fn walk(self) -> Walk {
        match self {
            Self::New => Walk::of("posting", DUE),
            Self::Again => Walk::of("posting", AGAIN),
        }
    }
}

impl Letters {
    /// Makes letters of the orders that wait. Of two nodes that do so at once, one makes each.
    ///
    /// # Errors
    /// What the store says.
    pub async fn make(&self, realm: &Realm) -> Result<(), StoreError> {
        let mut walk = Walk::all();
        while let Some(orders) = self.next::<Order>(realm, &mut walk).await? {
            for order in orders {
                // One that cannot be made, because a record cannot be read, holds up no other.
                if let Err(error) = self.make_of(realm, &order).await {
                    tracing::warn!(%error, "letters that somebody asked for cannot be made");
                }
            }
        }
        Ok(())
    }

    async fn next<T: Stored>(
        &self,
        realm: &Realm,
        walk: &mut Walk,
    ) -> Result<Option<Vec<Versioned<T>>>, StoreError> {
        walk.next(self.records.as_ref(), realm, &self.unread).await
    }

    async fn make_of(&self, realm: &Realm, order: &Versioned<Order>) -> Result<(), StoreError> {
        let is_late = self.node.now().since(order.value.placed) > LIFETIME;
        let letters =
            if is_late { Vec::new() } else { self.letters_of(realm, &order.value).await? };
        let batch = Batch::new(realm.clone()).with(order.remove());
        let puts = letters.iter().map(|letter| letter.put(Expect::Absent));
        match self.records.commit(puts.fold(batch, Batch::with)).await {
            // A conflict: another node has made them.
            Ok(()) | Err(CommitRefused::Conflict { .. }) => Ok(()),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }

    async fn letters_of(&self, realm: &Realm, order: &Order) -> Result<Vec<Letter>, StoreError> {
        match &order.wish {
            Wish::Reset { account } => {
                let mut letters = Vec::new();
                for user in self.people(realm, account).await? {
                    let password = self.passwords.generation(realm, &user.id).await?;
                    // Who was given none is not to get one by mail.
                    if password > 0 {
                        let (id, username) = (user.id.clone(), user.username.clone());
                        let content = Content::Reset { user: id, username, password };
                        letters.extend(self.for_person(realm, order, &user, content).await?);
                    }
                }
                Ok(letters)
            }
            Wish::SignIn { account, browser, onward } => {
                self.to_sign_in(realm, order, account, browser, onward).await
            }
            Wish::SignUp { address } => {
                let content = if self.is_taken(realm, address, None).await? {
                    Content::HasAccount
                } else {
                    Content::SignUp
                };
                Ok(self.to_address(realm, order, address, content).await?.into_iter().collect())
            }
            Wish::NewAddress { user, address } => {
                let found = self.users.load(realm, user).await?.filter(|user| !user.disabled);
                let Some(person) = found else { return Ok(Vec::new()) };
                let content = if self.is_taken(realm, address, Some(user)).await? {
                    Content::HasAccount
                } else {
                    let password = self.passwords.generation(realm, user).await?;
                    let username = person.username;
                    Content::NewAddress { user: user.clone(), username, password }
                };
                Ok(self.to_address(realm, order, address, content).await?.into_iter().collect())
            }
        }
    }

    async fn to_sign_in(
        &self,
        realm: &Realm,
        order: &Order,
        account: &str,
        browser: &str,
        onward: &[(String, String)],
    ) -> Result<Vec<Letter>, StoreError> {
        let content = |user, username, password| {
            let (browser, onward) = (browser.to_owned(), onward.to_vec());
            Content::SignIn { user, username, password, browser, onward }
        };
        let mut letters = Vec::new();
        if self.config.sign_in {
            for user in self.people(realm, account).await? {
                let password = self.passwords.generation(realm, &user.id).await?;
                let content = content(user.id.clone(), user.username.clone(), password);
                letters.extend(self.for_person(realm, order, &user, content).await?);
            }
        }
        if letters.is_empty()
            && let (Ok(to), Ok(user), Ok(username)) =
                (EmailAddress::new("nobody@invalid"), UserId::new(NOBODY), Username::new("nobody"))
        {
            let content = content(user, username, 0);
            letters.push(self.letter(to, &order.lang, content).for_nobody());
        }
        Ok(letters)
    }

    /// The people that an account is of, as it was typed: by user name, or by address.
    async fn people(&self, realm: &Realm, account: &str) -> Result<Vec<User>, StoreError> {
        let named = match Username::new(account) {
            Ok(name) => self.users.by_username(realm, &name).await?,
            Err(_) => None,
        };
        let found = match (named, EmailAddress::typed(account)) {
            (Some(user), _) => vec![user],
            (None, Ok(address)) => self.users.by_address(realm, &address).await?,
            (None, Err(_)) => Vec::new(),
        };
        Ok(found.into_iter().filter(|user| !user.disabled).collect())
    }

    /// Whether an address is somebody's, other than `own`: to sign in with, or for mail.
    pub(super) async fn is_taken(
        &self,
        realm: &Realm,
        address: &EmailAddress,
        own: Option<&UserId>,
    ) -> Result<bool, StoreError> {
        let named = match Username::new(address.as_str()) {
            Ok(name) => self.users.claim(realm, name.as_str()).await?,
            Err(_) => None,
        };
        let others = self.users.by_address(realm, address).await?;
        let mut all = named.into_iter().chain(others.into_iter().map(|user| user.id));
        Ok(all.any(|id| Some(&id) != own))
    }

    /// The letter to a person at their own address, unless they got too many.
    async fn for_person(
        &self,
        realm: &Realm,
        order: &Order,
        person: &User,
        content: Content,
    ) -> Result<Option<Letter>, StoreError> {
        // It goes to the address that is known, whatever was typed.
        let Some(letter) = self.to_person(person, &order.lang, content) else { return Ok(None) };
        let name = person.username.as_str();
        let admitted =
            self.throttle.letter(realm, ("o", &letter.to.form()), name, order.from).await?;
        Ok(admitted.then_some(letter))
    }

    /// The letter to an address that is nobody's yet, unless it got too many.
    async fn to_address(
        &self,
        realm: &Realm,
        order: &Order,
        address: &EmailAddress,
        content: Content,
    ) -> Result<Option<Letter>, StoreError> {
        let form = address.form();
        let admitted = self.throttle.letter(realm, ("n", &form), &form, order.from).await?;
        Ok(admitted.then(|| self.letter(address.clone(), &order.lang, content)))
    }

    /// The next of the letters of a walk that are due now: some, or none of those that were looked at.
    /// `None`: that was all. What is of no more use is dropped.
    ///
    /// # Errors
    /// What the store says.
    pub async fn due(
        &self,
        realm: &Realm,
        walk: &mut Walk,
    ) -> Result<Option<Vec<Letter>>, StoreError> {
        let Some(found) = self.next::<Letter>(realm, walk).await? else { return Ok(None) };
        let (mut due, now) = (Vec::new(), self.node.now());
        for found in found {
            if !found.value.is_of_use(&self.node) {
                let about = found.value.content.name();
                tracing::info!(about, "a letter was given up: it is too old");
                self.forget(realm, &found).await?;
            } else if found.value.due().is_some_and(|at| at <= now) {
                due.push(found.value);
            }
        }
        Ok(Some(due))
    }

    /// A letter in the words of `writer`.
    ///
    /// # Errors
    /// There is no key to make its link with.
    pub fn written(
        &self,
        realm: &Realm,
        letter: &Letter,
        writer: &dyn Writer,
    ) -> Result<Written, StoreError> {
        let link = match &letter.content {
            Content::SignIn { .. } => Some(self.keys.code(realm, letter.key())?),
            content if content.has_link() => Some(self.keys.link(realm, letter.key())?),
            _ => None,
        };
        Ok(writer.write(letter, link.as_ref()))
    }

    /// Writes down what became of a letter.
    ///
    /// # Errors
    /// What the store says: then it may be sent again.
    pub async fn note(
        &self,
        realm: &Realm,
        letter: &Letter,
        carried: &Carried,
    ) -> Result<(), StoreError> {
        let records = self.records.as_ref();
        let found = load::<Letter>(records, realm, letter.key()).await?;
        // Its link was used already, or another node has sent it.
        let Some(found) = found.filter(|found| found.value.due().is_some()) else {
            return Ok(());
        };
        let change = match carried {
            Carried::Taken if found.value.content.has_link() => found.replace(&found.value.sent()),
            Carried::Taken | Carried::Refused(_) => found.remove(),
            Carried::Failed(_) => found.replace(&found.value.again(self.node.now())),
        };
        match self.records.commit(Batch::new(realm.clone()).with(change)).await {
            Ok(()) | Err(CommitRefused::Conflict { .. }) => Ok(()),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }

    /// Forgets letters whose links do nothing any more, and so whom they were to.
    ///
    /// # Errors
    /// What the store says.
    pub async fn tidy(&self, realm: &Realm) -> Result<(), StoreError> {
        let mut walk = Walk::of("posting", SETTLED);
        while let Some(found) = self.next::<Letter>(realm, &mut walk).await? {
            for found in found.iter().filter(|found| !found.value.is_of_use(&self.node)) {
                self.forget(realm, found).await?;
            }
        }
        Ok(())
    }

    async fn forget(&self, realm: &Realm, found: &Versioned<Letter>) -> Result<(), StoreError> {
        match self.records.commit(Batch::new(realm.clone()).with(found.remove())).await {
            Ok(()) | Err(CommitRefused::Conflict { .. }) => Ok(()),
            Err(CommitRefused::Store(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
