//! From a name and a password to an [`Assurance`]; by way of a second factor, where there is one. Or by
//! a passkey, which is both.
//!
//! What is answered, how long it takes, and what is read and hashed on the way are the same for
//! a wrong password, an unknown name, a name that cannot be one, a user without a password and a
//! disabled user; also where the hash comes from another system, or from an earlier configuration:
//! each refusal costs what a hash of every kind costs that is known in the realm.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tegata_core::{
    Acr, Batch, CommitRefused, Event, EventType, Node, Realm, Records, Secret, StoreError,
    Timestamp, UserId, Versioned, repository::load,
};

use crate::{
    credential::{
        password::{
            self, Effort, Efforts, Password, PasswordHasher, PasswordRecord, Phc, Unusable, Verdict,
        },
        typed::Authenticator,
    },
    name::Locale,
    second_factor::SecondFactors,
    throttle::{Attempt, Throttle, TooMany, Tried},
    user::{User, Users},
    username::Username,
    workers::{self, Busy, Workers},
};

mod enrolling;
mod passkey;
mod second;

pub use enrolling::{Earliest, Offered, SetUp};
pub use passkey::USED;
pub use second::{CHALLENGES, CodeAttempt, Proven, Step, To};

/// A key that no user name can be.
const NO_NAME: &str = "-";

/// The id of no user.
const NOBODY: &str = "usr_nobody";

/// Signs people in.
#[derive(Clone)]
pub struct SignIn {
    node: Node,
    records: Arc<dyn Records>,
    users: Users,
    throttle: Throttle,
    second: SecondFactors,
    hasher: Arc<PasswordHasher>,
    workers: Arc<dyn Workers>,
}

/// What a password proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// All that is asked of this person.
    Whole(Assurance),
    /// The first of two factors: nothing begins yet.
    First(FirstFactor),
    /// The same of somebody who has no second, and of whom one is demanded.
    Unenrolled(FirstFactor),
}

/// The first of two factors, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstFactor {
    /// Whose.
    pub user: User,
    /// When the attempt began.
    pub began: Timestamp,
    /// What the second can be.
    pub second: Vec<Authenticator>,
    /// The password that was shown, among those that the person has had; where none was shown, the one
    /// that they have.
    password: u64,
    /// By which method.
    by: Method,
}

/// Who somebody is, and how well that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assurance {
    /// Who, as of the end of the check.
    pub user: User,
    /// By which methods: the claim `amr`.
    pub amr: Vec<Method>,
    /// How well: the claim `acr`.
    pub acr: Acr,
    /// Which second factors, as [`crate::Enrolled::names`] calls them.
    pub factors: Vec<String>,
    /// When the attempt began: the claim `auth_time`. Whatever is withdrawn "before now" while an
    /// attempt is under way also withdraws what comes of it.
    pub auth_time: Timestamp,
}

/// A method of authentication, as RFC 8176 and the registry that it began name it, where they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// A password.
    Password,
    /// A code from a letter, typed in the browser that asked for it.
    Mail,
    /// A code that works once: of an app (RFC 6238), or one of a list on paper.
    OneTime,
    /// A signature by a key that the person holds: a passkey. Whether it is in hardware, nobody says.
    Possession,
    /// Somebody was there, and said that they meant it.
    Presence,
    /// Several factors. It stands beside them.
    Several,
}

/// What became of a name and a password.
enum Checked {
    /// They are this person's, and it is this one of the passwords that they have had.
    Is(User, u64),
    /// They do not belong together, and this is left to be done before that is said. `None`: nothing, for
    /// anybody.
    IsNot(Option<Vec<Effort>>),
}

/// Why somebody was not signed in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The name and the password do not belong together, or the user may not sign in.
    #[error("the user name or the password is wrong")]
    InvalidCredentials,
    /// The code is not the person's, not of now, or was used before.
    #[error("the code is wrong, or was used before")]
    WrongCode,
    /// The passkey is nobody's here, or has not proven what it was asked for.
    #[error("the passkey is not known here, or has not proven what it was asked for")]
    WrongPasskey,
    /// Nobody waits for this: the password was shown too long ago, by another browser, or was
    /// followed by too much that was wrong.
    #[error("this sign-in has taken too long, or too many codes were wrong: begin again")]
    Over,
    /// There were too many attempts.
    #[error("too many attempts to sign in: try again in {} s", retry_after.as_secs())]
    Throttled {
        /// When it may be tried again. At least a second.
        retry_after: Duration,
    },
    /// Too many others are signing in.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SignIn {
    /// Signs in those that `second` knows by records, under `throttle`, with the hashing on `workers`.
    #[must_use]
    pub fn new(
        second: SecondFactors,
        throttle: Throttle,
        hasher: Arc<PasswordHasher>,
        workers: Arc<dyn Workers>,
    ) -> Self {
        let (node, records) = (second.node.clone(), Arc::clone(&second.records));
        let users = Users::new(node.clone(), Arc::clone(&records));
        Self { node, records, users, throttle, second, hasher, workers }
    }

    /// The second factors of people.
    #[must_use]
    pub const fn second_factors(&self) -> &SecondFactors {
        &self.second
    }

    /// The same, for somebody who reads this language just now.
    #[must_use]
    pub fn in_language(&self, lang: Locale) -> Self {
        Self { second: self.second.in_language(lang), ..self.clone() }
    }

    /// What counts attempts to guess something.
    #[must_use]
    pub const fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Signs in by name and password. `address`: from where it is tried.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn by_password(
        &self,
        realm: &Realm,
        username: &str,
        password: Secret<String>,
        address: IpAddr,
    ) -> Result<Proof, Refused> {
        let mut whose = None;
        let proven = self.look_at_password(realm, username, password, address, &mut whose).await;
        self.throttle.noted(realm, (Tried::Password, whose.as_ref(), address), proven)
    }

    /// The same, saying whose account it was, where it was one.
    async fn look_at_password(
        &self,
        realm: &Realm,
        username: &str,
        password: Secret<String>,
        address: IpAddr,
        whose: &mut Option<UserId>,
    ) -> Result<Proof, Refused> {
        let began = self.node.now();
        let username = Username::new(username).ok();
        let account = username.as_ref().map_or("", Username::as_str);
        let attempt = self.throttle.admit(realm, account, address).await?;
        match self.check(realm, username.as_ref(), &password, whose).await {
            Ok(Checked::Is(user, password)) => {
                Ok(match self.second.of(realm, &user.id).await? {
                    Some(enrolled) => {
                        // Nobody has signed in from there yet.
                        self.not_made(realm, attempt).await;
                        let second = enrolled.authenticators().into_iter().collect();
                        let by = Method::Password;
                        Proof::First(FirstFactor { user, began, second, password, by })
                    }
                    None if self.second.demand().covers(&user) => {
                        self.not_made(realm, attempt).await;
                        let (second, by) = (Vec::new(), Method::Password);
                        Proof::Unenrolled(FirstFactor { user, began, second, password, by })
                    }
                    None => {
                        self.succeeded(realm, attempt).await;
                        let (amr, factors) = (vec![Method::Password], Vec::new());
                        let (acr, auth_time) = (Acr::Aal1, began);
                        Proof::Whole(Assurance { user, amr, acr, factors, auth_time })
                    }
                })
            }
            Ok(Checked::IsNot(rest)) => {
                // Where the workers are too busy for it, the attempt stays counted: whether the password was
                // right has been looked at.
                self.even_out(rest).await?;
                Err(Refused::InvalidCredentials)
            }
            Err(Refused::Busy(busy)) => {
                self.not_made(realm, attempt).await;
                Err(busy.into())
            }
            // An attempt that ended in an error stays counted: an error must not open a way around
            // the count.
            Err(refused) => Err(refused),
        }
    }

    /// Counts the codes of a person anew, whose second factor was taken away.
    ///
    /// # Errors
    /// What the store says.
    pub async fn forget_codes(&self, realm: &Realm, user: &UserId) -> Result<(), StoreError> {
        self.throttle.forget_codes(realm, user).await
    }

    /// The user, if the password is theirs and they may sign in, and which of their passwords it is.
    /// Makes the same calls in the same order whether or not there is such a user.
    async fn check(
        &self,
        realm: &Realm,
        username: Option<&Username>,
        password: &Secret<String>,
        whose: &mut Option<UserId>,
    ) -> Result<Checked, Refused> {
        let efforts = Efforts::of(self.records.as_ref(), realm).await?;
        // Where there is no such user, nobody's records are looked up instead.
        let name = username.map_or(NO_NAME, Username::as_str);
        let claimed = self.users.claim(realm, name).await?;
        let found = claimed.is_some();
        whose.clone_from(&claimed);
        let id = match claimed {
            Some(id) => id,
            None => UserId::new(NOBODY).map_err(|_| Refused::InvalidCredentials)?,
        };
        let record = load::<PasswordRecord>(self.records.as_ref(), realm, id.as_str()).await?;
        let record = record.filter(|_| found);
        // What is too long to be a password is hashed as an empty one, in the same time.
        let (password, whole) = match Password::new(password.expose().clone()) {
            Ok(password) => (password, true),
            Err(_) => (Password::empty(), false),
        };
        let (verdict, spent) = self.verify(&password, record.as_ref()).await?;
        let noted = self.node.now();
        if efforts.lacks(spent, noted) && spent != self.hasher.effort() {
            password::note(self.records.as_ref(), realm, spent, noted).await;
        }
        let (own, caps) = (self.hasher.effort(), self.hasher.caps());
        // Where others have something left to do, whoever has nothing does that: how many jobs there were
        // says nothing, either.
        let rest = || {
            let rest = efforts.rest(spent, own, caps, noted);
            let even = rest.is_empty() && !efforts.has_any(noted);
            Ok(Checked::IsNot((!even).then_some(rest)))
        };
        // Read after the hashing, which takes long: what was changed meanwhile counts.
        let user = self.users.load(realm, &id).await?;
        let now = load::<PasswordRecord>(self.records.as_ref(), realm, id.as_str()).await?;
        let (Verdict::Matches { rehash }, Some(record), Some(user), true) =
            (verdict, record, user, whole)
        else {
            return rest();
        };
        let unchanged =
            now.as_ref().is_some_and(|now| now.value.generation == record.value.generation);
        if !unchanged || user.disabled {
            return rest();
        }
        if rehash {
            self.rehash(realm, &record, password).await;
        }
        Ok(Checked::Is(user, record.value.generation))
    }

    /// Does what is left to be done, so that every refusal takes as long.
    async fn even_out(&self, rest: Option<Vec<Effort>>) -> Result<(), Refused> {
        let Some(rest) = rest else { return Ok(()) };
        let hasher = Arc::clone(&self.hasher);
        let spent = workers::run(self.workers.as_ref(), move || {
            rest.into_iter().try_for_each(|effort| hasher.spend(effort))
        });
        spent.await?.map_err(|_| Busy.into())
    }

    /// Checks the password against the record, or against the decoy where there is none; answers what that
    /// has cost, too.
    async fn verify(
        &self,
        password: &Password,
        record: Option<&Versioned<PasswordRecord>>,
    ) -> Result<(Verdict, Effort), Refused> {
        let own = self.hasher.effort();
        let phc = record.map_or_else(|| self.hasher.decoy(), |record| &record.value.phc);
        match self.verify_on_workers(password, phc).await? {
            Ok(verdict) if record.is_some() => {
                Ok((verdict, phc.effort(self.hasher.caps()).unwrap_or(own)))
            }
            Ok(_) => Ok((Verdict::Differs, own)),
            Err(Unusable::NoMemory) => Err(Busy.into()),
            Err(reason) => {
                if let Some(record) = record {
                    let user = &record.value.user;
                    tracing::error!(%user, %reason, "the stored password hash cannot be used");
                }
                // Whoever asks must not learn it from the clock.
                self.verify_on_workers(password, self.hasher.decoy()).await?.ok();
                Ok((Verdict::Differs, own))
            }
        }
    }

    async fn verify_on_workers(
        &self,
        password: &Password,
        phc: &Phc,
    ) -> Result<Result<Verdict, Unusable>, Busy> {
        let (hasher, password, phc) = (Arc::clone(&self.hasher), password.clone(), phc.clone());
        workers::run(self.workers.as_ref(), move || hasher.verify(&password, &phc)).await
    }

    /// Hashes the password anew, as the configuration asks. If it does not come to it now, the next
    /// sign-in does it.
    async fn rehash(&self, realm: &Realm, record: &Versioned<PasswordRecord>, password: Password) {
        let (hasher, node) = (Arc::clone(&self.hasher), self.node.clone());
        let hashed =
            workers::run(self.workers.as_ref(), move || hasher.hash(&password, node.entropy()));
        let Ok(Ok(phc)) = hashed.await else { return };
        let next = PasswordRecord { phc, ..record.value.clone() };
        let user = &record.value.user;
        let event = Event::new(
            &self.node,
            realm,
            EventType::RegistryChanged,
            [
                ("subject", user.as_str().into()),
                ("change", "password_rehashed".into()),
                ("actor", "sign_in".into()),
            ],
        );
        let batch = Batch::new(realm.clone()).with(record.replace(&next)).journal(&event);
        match self.records.commit(batch).await {
            // A conflict: the password was changed, or somebody else hashed it anew.
            Ok(()) | Err(CommitRefused::Conflict { .. }) => {}
            Err(CommitRefused::Store(error)) => {
                tracing::warn!(%user, %error, "a password was not hashed anew");
            }
        }
    }

    /// The person is who they say: a store that does not take the good news is no reason to send them
    /// away.
    async fn succeeded(&self, realm: &Realm, attempt: Attempt) {
        if let Err(error) = self.throttle.succeeded(realm, attempt).await {
            tracing::warn!(%error, "a sign-in was not taken off the count of attempts");
        }
    }

    async fn not_made(&self, realm: &Realm, attempt: Attempt) {
        if let Err(error) = self.throttle.not_made(realm, attempt).await {
            tracing::warn!(%error, "an attempt that was not made stays counted");
        }
    }
}

impl FirstFactor {
    /// The first of two factors, proven by a letter.
    pub(crate) const fn by_mail(
        user: User,
        began: Timestamp,
        second: Vec<Authenticator>,
        password: u64,
    ) -> Self {
        Self { user, began, second, password, by: Method::Mail }
    }
}

impl Proof {
    /// Whose it is.
    #[must_use]
    pub const fn user(&self) -> &User {
        match self {
            Self::Whole(assurance) => &assurance.user,
            Self::First(first) | Self::Unenrolled(first) => &first.user,
        }
    }

    /// When the attempt began.
    #[must_use]
    pub const fn began(&self) -> Timestamp {
        match self {
            Self::Whole(assurance) => assurance.auth_time,
            Self::First(first) | Self::Unenrolled(first) => first.began,
        }
    }
}

impl From<TooMany> for Refused {
    fn from(refused: TooMany) -> Self {
        match refused {
            TooMany::Throttled { retry_after } => Self::Throttled { retry_after },
            TooMany::Store(error) => Self::Store(error),
        }
    }
}

impl Method {
    /// The value in `amr`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "pwd",
            Self::Mail => "email",
            Self::OneTime => "otp",
            Self::Possession => "pop",
            Self::Presence => "user",
            Self::Several => "mfa",
        }
    }
}

#[cfg(test)]
mod tests;
