//! Why an order was not carried out, or not all of it.

use serde_json::Value;
use tegata_core::{CommitRefused, InvalidId, InvalidName, StoreError};
use tegata_identity::{
    credential::password::{SetRefused, TooLong, Unusable},
    user::{ChangeRefused, RegisterRefused},
};
use tegata_oauth::client::NotRegistered;
use tegata_token::{KeyRefused, KeysRefused, RingRefused};

use crate::{policies::NotDeclared, registry::RegistryRefused};

/// Why an order was not carried out, or not all of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    /// Of which kind that is, for programs.
    pub(crate) kind: Kind,
    /// One line that says what, where and how to mend it.
    pub(crate) why: String,
    /// What was done or found all the same: whoever ordered must see it.
    pub(crate) done: Option<Value>,
}

/// What whoever ordered can do about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Something of the order is not as it must be: this member of it, or all of it where it is empty.
    Invalid(&'static str),
    /// There is no such thing.
    Unknown,
    /// It contradicts what is there.
    Conflict,
    /// It was changed since it was read.
    Overtaken,
    /// Nobody may do it this way.
    Forbidden,
    /// There is too much to do.
    Busy,
    /// The store did not answer.
    Store(Box<StoreError>),
}

impl Refused {
    #[expect(clippy::needless_pass_by_value, reason = "an error that is told is done with")]
    pub(crate) fn new(kind: Kind, why: impl ToString) -> Self {
        Self { kind, why: why.to_string(), done: None }
    }

    /// A member of the order is not as it must be.
    pub(crate) fn invalid<E: ToString>(member: &'static str) -> impl Fn(E) -> Self {
        move |why| Self::new(Kind::Invalid(member), why)
    }

    pub(crate) fn unknown(why: impl ToString) -> Self {
        Self::new(Kind::Unknown, why)
    }

    /// The same, after something was done.
    pub(crate) fn after(self, done: Value) -> Self {
        Self { done: Some(done), ..self }
    }
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::new(Kind::Invalid(""), why)
    }
}

impl From<NotDeclared> for Refused {
    fn from(refused: NotDeclared) -> Self {
        match refused {
            NotDeclared::Store(error) => error.into(),
            unsound @ NotDeclared::Unsound(_) => Self::new(Kind::Invalid(""), unsound),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::new(Kind::Store(Box::new(error.clone())), error)
    }
}

impl From<CommitRefused> for Refused {
    fn from(refused: CommitRefused) -> Self {
        match refused {
            CommitRefused::Store(error) => error.into(),
            // Whoever did not expect it is told to try again.
            conflict @ CommitRefused::Conflict { .. } => Self::new(Kind::Busy, conflict),
        }
    }
}

impl From<InvalidName> for Refused {
    fn from(why: InvalidName) -> Self {
        Self::new(Kind::Invalid(""), why)
    }
}

/// What cannot be an id is the id of nothing.
impl From<InvalidId> for Refused {
    fn from(why: InvalidId) -> Self {
        Self::unknown(why)
    }
}

impl From<RegisterRefused> for Refused {
    fn from(refused: RegisterRefused) -> Self {
        match refused {
            RegisterRefused::Store(error) => error.into(),
            taken @ RegisterRefused::NameTaken(_) => Self::new(Kind::Conflict, taken),
        }
    }
}

impl From<ChangeRefused> for Refused {
    fn from(refused: ChangeRefused) -> Self {
        let kind = match &refused {
            ChangeRefused::Store(error) => return error.clone().into(),
            ChangeRefused::Unknown(_) => Kind::Unknown,
            ChangeRefused::Contended(_) => Kind::Busy,
            ChangeRefused::Overtaken(_) => Kind::Overtaken,
            ChangeRefused::AskerRefused(_) => Kind::Forbidden,
        };
        Self::new(kind, refused)
    }
}

impl From<SetRefused> for Refused {
    fn from(refused: SetRefused) -> Self {
        let kind = match &refused {
            SetRefused::Store(error) => return error.clone().into(),
            SetRefused::Weak(_) => Kind::Invalid("/password"),
            SetRefused::Unknown(_) => Kind::Unknown,
            SetRefused::Overtaken(_) => Kind::Overtaken,
            SetRefused::Busy(_) | SetRefused::Contended(_) => Kind::Busy,
        };
        Self::new(kind, refused)
    }
}

impl From<TooLong> for Refused {
    fn from(refused: TooLong) -> Self {
        Self::new(Kind::Invalid("/password"), refused)
    }
}

impl From<Unusable> for Refused {
    fn from(refused: Unusable) -> Self {
        Self::new(Kind::Invalid("/password_hash"), refused)
    }
}

impl From<NotRegistered> for Refused {
    fn from(refused: NotRegistered) -> Self {
        let kind = match &refused {
            NotRegistered::Store(error) => return error.clone().into(),
            NotRegistered::Invalid(_) => Kind::Invalid(""),
            NotRegistered::WeakSecret(_) => Kind::Invalid("/client_secret"),
            NotRegistered::Reserved(_)
            | NotRegistered::Taken(..)
            | NotRegistered::NotAnAddress(..) => Kind::Invalid("/client_id"),
            NotRegistered::Unknown(_) => Kind::Unknown,
            NotRegistered::Present(_)
            | NotRegistered::Described(_)
            | NotRegistered::NotDescribed(_) => Kind::Conflict,
            NotRegistered::Overtaken(_) => Kind::Overtaken,
        };
        Self::new(kind, refused)
    }
}

impl From<RegistryRefused> for Refused {
    fn from(refused: RegistryRefused) -> Self {
        let kind = match &refused {
            RegistryRefused::Store(error) => return error.clone().into(),
            RegistryRefused::Invalid(_) => Kind::Invalid(""),
            RegistryRefused::Taken(_) => Kind::Invalid("/name"),
            RegistryRefused::Unknown(_)
            | RegistryRefused::NoDelegation(_)
            | RegistryRefused::NoBff(_) => Kind::Unknown,
            RegistryRefused::Present(_) => Kind::Conflict,
            RegistryRefused::Overtaken(_) | RegistryRefused::BffOvertaken(_) => Kind::Overtaken,
        };
        Self::new(kind, refused)
    }
}

impl From<RingRefused> for Refused {
    fn from(refused: RingRefused) -> Self {
        let kind = match &refused {
            RingRefused::Unknown(_) => Kind::Unknown,
            RingRefused::Unused(_) => Kind::Invalid("/algorithm"),
            RingRefused::TooSoon { .. }
            | RingRefused::NotDue(_)
            | RingRefused::InUse { .. }
            | RingRefused::Exists(_)
            | RingRefused::MadeInVault => Kind::Conflict,
            RingRefused::Key(_) => Kind::Invalid(""),
        };
        Self::new(kind, refused)
    }
}

impl From<KeysRefused> for Refused {
    fn from(refused: KeysRefused) -> Self {
        match refused {
            KeysRefused::Ring(refused) => refused.into(),
            KeysRefused::Store(error) => error.into(),
            KeysRefused::Key(why @ (KeyRefused::Vault(_) | KeyRefused::NotOurs(_))) => {
                tegata_oauth::unsigned(&why).into()
            }
            key @ KeysRefused::Key(_) => Self::new(Kind::Invalid(""), key),
        }
    }
}
