//! Of whom a second factor is demanded.

use std::collections::BTreeSet;

use tegata_core::{Acr, StepUp};

use crate::{name::Role, user::User};

/// Of whom a second factor is demanded. Whoever has none sets one up before anything of theirs begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Demand {
    /// Of nobody: people set one up as they like.
    #[default]
    Nobody,
    /// Of whoever has one of these roles.
    Roles(BTreeSet<Role>),
    /// Of everybody.
    Everybody,
}

impl Demand {
    /// Whether it is of this person.
    #[must_use]
    pub fn covers(&self, user: &User) -> bool {
        match self {
            Self::Nobody => false,
            Self::Roles(roles) => !roles.is_disjoint(&user.roles),
            Self::Everybody => true,
        }
    }

    /// Whether it is of nobody, whoever they are.
    #[must_use]
    pub fn is_of_nobody(&self) -> bool {
        match self {
            Self::Nobody => true,
            Self::Roles(roles) => roles.is_empty(),
            Self::Everybody => false,
        }
    }

    /// Whether this person may go on who was authenticated so strongly.
    #[must_use]
    pub fn is_met(&self, user: &User, acr: Option<&str>) -> bool {
        !StepUp::to(Acr::Aal2).is_weak(acr) || !self.covers(user)
    }
}
