//! What is sent.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tegata_core::{Epoch, Kind, Lifetime, Node, Stored, Timestamp, UserId, id::expiry_day};

use super::{Letters, order};
use crate::{
    name::{EmailAddress, Locale},
    second_factor::FactorChange,
    user::User,
    username::Username,
};

/// Where letters are kept until their links were used, or would do nothing any more.
pub static LETTER_KIND: Kind = Kind {
    name: "letter",
    indexes: &["posting", "browser"],
    lifetime: Lifetime::ByDay(expiry_day),
    secret: true,
};

/// What the index says of letters that are still to be sent, of those of them that were tried in vain, and
/// of the others.
pub(super) const DUE: &str = "due";
pub(super) const AGAIN: &str = "again";
pub(super) const SETTLED: &str = "settled";

/// How long a link counts, and a letter is tried to be sent.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How long a letter counts that somebody signs in by.
const SIGN_IN: Duration = Duration::from_secs(10 * 60);

/// How long it is tried to send a letter that only tells something.
const NEWS: Duration = Duration::from_secs(24 * 3600);

/// How long is waited at most before a letter is sent again.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What a letter says, and what its link does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Its link lets a person choose another password.
    Reset {
        /// Who.
        user: UserId,
        /// What they sign in with.
        username: Username,
        /// The password that they have.
        password: u64,
    },
    /// Its link lets somebody make an account of the address.
    SignUp,
    /// There is an account of this address already.
    HasAccount,
    /// Its link gives the address to a person.
    NewAddress {
        /// Who.
        user: UserId,
        /// What they sign in with.
        username: Username,
        /// The password that they had when they asked.
        password: u64,
    },
    /// Its code signs a person in.
    SignIn {
        /// Who.
        user: UserId,
        /// What they sign in with.
        username: Username,
        /// The password that they have; 0: none.
        password: u64,
        /// In this browser.
        browser: String,
        /// What for: parameters of the page that its link leads to.
        #[serde(default)]
        onward: Vec<(String, String)>,
    },
    /// Tells that the password was changed.
    PasswordChanged {
        /// What the person signs in with.
        username: Username,
    },
    /// Tells that mail goes elsewhere from now on.
    AddressChanged {
        /// What the person signs in with.
        username: Username,
    },
    /// Tells that a second factor was changed, or a recovery code used.
    FactorChanged {
        /// What the person signs in with.
        username: Username,
        /// What became of it.
        change: FactorChange,
    },
    /// Tells that the person was signed out in one browser, because they signed in in too many.
    SignedOut {
        /// What the person signs in with.
        username: Username,
        /// Where they were signed out: family and system, as `Firefox/Linux`.
        browser: String,
    },
}

/// Where a letter is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Posting {
    Due {
        at: Timestamp,
        attempts: u32,
    },
    Sent,
    /// It is for nobody, and takes the place of one.
    Never,
}

/// A letter.
#[derive(Clone, Serialize, Deserialize)]
pub struct Letter {
    key: String,
    /// To whom.
    pub to: EmailAddress,
    /// In which language.
    pub lang: Locale,
    /// What it says.
    pub content: Content,
    /// Until when it is of use.
    pub until: Timestamp,
    pub(super) posting: Posting,
}

impl Stored for Letter {
    const KIND: &'static Kind = &LETTER_KIND;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        let posting = match self.posting {
            Posting::Due { attempts: 0, .. } => DUE,
            Posting::Due { .. } => AGAIN,
            Posting::Sent | Posting::Never => SETTLED,
        };
        let browser = match &self.content {
            Content::SignIn { browser, .. } => Some(("browser", browser.clone())),
            _ => None,
        };
        std::iter::once(("posting", posting.to_owned())).chain(browser).collect()
    }
}

impl Letters {
    /// A letter to be sent now.
    pub(super) fn letter(&self, to: EmailAddress, lang: &Locale, content: Content) -> Letter {
        Letter::new(&self.node, self.epoch, to, lang, content)
    }

    /// A letter to a person, where mail reaches them.
    pub(super) fn to_person(&self, user: &User, lang: &Locale, content: Content) -> Option<Letter> {
        Letter::to_person(&self.node, self.epoch, user, lang, content)
    }
}

impl Letter {
    fn new(node: &Node, epoch: Epoch, to: EmailAddress, lang: &Locale, content: Content) -> Self {
        let now = node.now();
        let lifetime = match &content {
            Content::SignIn { .. } => SIGN_IN,
            content if content.has_link() => LIFETIME,
            _ => NEWS,
        };
        Self {
            key: order::key(node, epoch, now),
            to,
            lang: lang.clone(),
            content,
            until: now + lifetime,
            posting: Posting::Due { at: now, attempts: 0 },
        }
    }

    /// A letter to a person, to be sent now. `None`: mail does not reach them.
    pub(crate) fn to_person(
        node: &Node,
        epoch: Epoch,
        user: &User,
        lang: &Locale,
        content: Content,
    ) -> Option<Self> {
        let to = user.email.as_ref().and_then(|it| EmailAddress::typed(it.as_str()).ok())?;
        Some(Self::new(node, epoch, to, lang, content))
    }

    /// Whether its link or code still counts.
    pub(super) fn is_of_use(&self, node: &Node) -> bool {
        node.now() < self.until
    }

    /// When it is to be sent next.
    #[must_use]
    pub const fn due(&self) -> Option<Timestamp> {
        match self.posting {
            Posting::Due { at, .. } => Some(at),
            Posting::Sent | Posting::Never => None,
        }
    }

    /// The same, for nobody: whoever guesses codes finds as much to guess as elsewhere.
    pub(super) fn for_nobody(self) -> Self {
        Self { posting: Posting::Never, ..self }
    }

    pub(super) fn sent(&self) -> Self {
        Self { posting: Posting::Sent, ..self.clone() }
    }

    /// The same, to be sent again after a while.
    pub(super) fn again(&self, now: Timestamp) -> Self {
        let attempts = match self.posting {
            Posting::Due { attempts, .. } => attempts.saturating_add(1),
            Posting::Sent | Posting::Never => return self.clone(),
        };
        let pause = Duration::from_secs(1 << attempts.min(9)).min(LONGEST_PAUSE);
        Self { posting: Posting::Due { at: now + pause, attempts }, ..self.clone() }
    }
}

impl Content {
    /// Whether a letter of this content lets somebody do something.
    #[must_use]
    pub const fn has_link(&self) -> bool {
        match self {
            Self::Reset { .. } | Self::SignUp | Self::NewAddress { .. } | Self::SignIn { .. } => {
                true
            }
            Self::HasAccount
            | Self::PasswordChanged { .. }
            | Self::AddressChanged { .. }
            | Self::FactorChanged { .. }
            | Self::SignedOut { .. } => false,
        }
    }

    /// What it is about, in a word, for logs and counts.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Reset { .. } => "reset",
            Self::SignUp => "sign_up",
            Self::HasAccount => "has_account",
            Self::NewAddress { .. } => "new_address",
            Self::SignIn { .. } => "sign_in",
            Self::PasswordChanged { .. } => "password_changed",
            Self::AddressChanged { .. } => "address_changed",
            Self::FactorChanged { .. } => "factor_changed",
            Self::SignedOut { .. } => "signed_out",
        }
    }
}

impl fmt::Debug for Letter {
    /// Without the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letter({})", self.content.name())
    }
}
