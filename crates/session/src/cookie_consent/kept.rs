//! What people chose, as it is kept: so that it can be shown later what was agreed to, and when.
//!
//! A record names the person where a session was presented, and nothing else by which anybody could be
//! told apart: no address, no browser.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Epoch, Event, EventType, Expect, Kind, Lifetime, Node, Realm, Records,
    StoreError, Stored, Timestamp, UserId, id::expiry_day, port::Page, repository,
};

use super::{ConsentSeal, CookieConsent};
use crate::policy::{Agreed, CookiePolicy};

/// Where choices are stored.
pub static COOKIE_CONSENTS: Kind = Kind {
    name: "cookie_consent",
    indexes: &["user"],
    lifetime: Lifetime::ByDay(expiry_day),
    secret: false,
};

/// Records are dropped together that die within so many days, so that stores need few partitions.
const TOGETHER: u32 = 30;

/// How somebody chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chosen {
    /// They said what they agree to, which may be nothing.
    Set,
    /// They took back all that they said.
    Withdrawn,
}

/// A choice, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptConsent {
    key: String,
    /// Whose it was, where a session was presented.
    pub user: Option<UserId>,
    /// When.
    pub at: Timestamp,
    /// To which version of the policy.
    pub version: u32,
    /// How.
    pub chosen: Chosen,
    /// To what they agreed.
    pub agreed: Agreed,
}

impl KeptConsent {
    /// Under which key it is kept: lists go on after it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Stored for KeptConsent {
    const KIND: &'static Kind = &COOKIE_CONSENTS;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        &self.key
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        self.user.iter().map(|user| ("user", user.as_str().to_owned())).collect()
    }
}

/// The choices of people: what they can choose from, what they chose, and the records of it.
#[derive(Clone)]
pub struct CookieConsents {
    node: Node,
    epoch: Epoch,
    records: Arc<dyn Records>,
    seal: ConsentSeal,
    policy: Arc<CookiePolicy>,
    kept: Duration,
}

impl CookieConsents {
    /// Choices by this policy, whose records are kept for so long.
    #[must_use]
    pub fn new(
        node: Node,
        epoch: Epoch,
        records: Arc<dyn Records>,
        seal: ConsentSeal,
        policy: Arc<CookiePolicy>,
        kept: Duration,
    ) -> Self {
        Self { node, epoch, records, seal, policy, kept }
    }

    /// What people can choose from.
    #[must_use]
    pub fn policy(&self) -> &Arc<CookiePolicy> {
        &self.policy
    }

    /// What signs choices.
    #[must_use]
    pub const fn seal(&self) -> &ConsentSeal {
        &self.seal
    }

    /// What a cookie says. `None`: nothing that counts.
    #[must_use]
    pub fn read(&self, realm: &Realm, value: &str) -> Option<CookieConsent> {
        self.seal.open(realm, value, self.policy.version(), self.node.now())
    }

    /// The choice of whoever agrees to so much now. What needs no consent is left out of it, so that
    /// nobody has agreed to what they were not asked, should it need consent later.
    #[must_use]
    pub fn choice(&self, agreed: Agreed) -> CookieConsent {
        CookieConsent {
            version: self.policy.version(),
            at: Timestamp::from_secs(self.node.now().secs()),
            agreed: self.policy.counted(agreed),
        }
    }

    /// Keeps a record of a choice, and tells of it in the journal.
    ///
    /// # Errors
    /// What the store says: then it is not recorded.
    pub async fn note(
        &self,
        realm: &Realm,
        consent: &CookieConsent,
        chosen: Chosen,
        user: Option<&UserId>,
    ) -> Result<(), StoreError> {
        let kept = KeptConsent {
            key: self.key(),
            user: user.cloned(),
            at: consent.at,
            version: consent.version,
            chosen,
            agreed: consent.agreed,
        };
        let categories: Vec<_> = consent.agreed.categories().map(|it| it.name()).collect();
        let data = [
            ("user_id", serde_json::json!(user)),
            ("version", consent.version.into()),
            ("categories", categories.into()),
            ("withdrawn", (chosen == Chosen::Withdrawn).into()),
        ];
        let event = Event::new(&self.node, realm, EventType::CookieConsentChanged, data);
        let batch = Batch::new(realm.clone()).with(kept.put(Expect::Absent)).journal(&event);
        self.records.commit(batch).await.map_err(|refused| match refused {
            CommitRefused::Store(error) => error,
            CommitRefused::Conflict { .. } => {
                StoreError::Misused { detail: "two choices had one key".to_owned() }
            }
        })
    }

    /// What a person chose while signed in, in the order in which the records die and then of time.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of_person(
        &self,
        realm: &Realm,
        user: &UserId,
        page: Page,
    ) -> Result<Vec<KeptConsent>, StoreError> {
        let records = self.records.as_ref();
        let found = repository::find(records, realm, "user", user.as_str(), page).await?;
        Ok(found.into_iter().map(|found| found.value).collect())
    }

    /// A new key, which sorts by time among those that die together.
    fn key(&self) -> String {
        let mut bytes = [0_u8; 16];
        self.node.entropy().fill(&mut bytes);
        let now = self.node.now();
        let dies = (now + self.kept).day() + 1;
        let day = dies.div_ceil(TOGETHER) * TOGETHER;
        format!("{}.{day}.{:014}{}", self.epoch, now.millis(), URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for CookieConsents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieConsents")
            .field("policy", &self.policy.version())
            .finish_non_exhaustive()
    }
}
