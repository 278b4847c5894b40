//! What cookies are for, and which of that somebody has agreed to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a cookie is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// What somebody asked for cannot be done without it.
    Essential,
    /// What somebody chose is remembered.
    Functional,
    /// It is counted how the pages are used.
    Analytics,
    /// Advertisements are chosen and counted.
    Marketing,
}

/// The categories that somebody has agreed to. Nothing, where nobody was asked.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Agreed {
    functional: bool,
    analytics: bool,
    marketing: bool,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Essential, Self::Functional, Self::Analytics, Self::Marketing];

    /// Those that can be refused.
    pub const CHOSEN: [Self; 3] = [Self::Functional, Self::Analytics, Self::Marketing];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Essential => "essential",
            Self::Functional => "functional",
            Self::Analytics => "analytics",
            Self::Marketing => "marketing",
        }
    }

    /// What stands for it where it was agreed to.
    const fn letter(self) -> char {
        match self {
            Self::Essential => 'e',
            Self::Functional => 'f',
            Self::Analytics => 'a',
            Self::Marketing => 'm',
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Agreed {
    /// Nothing.
    pub const NOTHING: Self = Self { functional: false, analytics: false, marketing: false };

    /// The same, and this category. What is essential is not agreed to.
    #[must_use]
    pub const fn with(mut self, category: Category) -> Self {
        match category {
            Category::Essential => {}
            Category::Functional => self.functional = true,
            Category::Analytics => self.analytics = true,
            Category::Marketing => self.marketing = true,
        }
        self
    }

    /// Whether this category was agreed to.
    #[must_use]
    pub const fn has(self, category: Category) -> bool {
        match category {
            Category::Essential => false,
            Category::Functional => self.functional,
            Category::Analytics => self.analytics,
            Category::Marketing => self.marketing,
        }
    }

    /// The categories, in their order.
    pub fn categories(self) -> impl Iterator<Item = Category> {
        Category::CHOSEN.into_iter().filter(move |category| self.has(*category))
    }

    /// Reads what [`Self`] is written as: letters in their order, or `-`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let of_letters = Category::CHOSEN
            .into_iter()
            .filter(|category| text.contains(category.letter()))
            .fold(Self::NOTHING, Self::with);
        // One choice has one spelling.
        (of_letters.to_string() == text).then_some(of_letters)
    }
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NOTHING {
            return f.write_str("-");
        }
        self.categories().try_for_each(|category| write!(f, "{}", category.letter()))
    }
}

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.categories().map(Category::name)).finish()
    }
}

impl TryFrom<String> for Agreed {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("letters of categories in their order, or `-`")
    }
}

impl From<Agreed> for String {
    fn from(agreed: Agreed) -> Self {
        agreed.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_choice_has_one_spelling() {
        for text in ["-", "f", "a", "m", "fa", "fm", "am", "fam"] {
            assert_eq!(Agreed::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "af", "ff", "e", "fame", "F", "-f", "fa ", "f-", "x", "ma"] {
            assert_eq!(Agreed::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_essential_is_not_agreed_to() {
        let all = Category::ALL.into_iter().fold(Agreed::NOTHING, Agreed::with);
        assert!(!all.has(Category::Essential));
        assert_eq!(all.categories().collect::<Vec<_>>(), Category::CHOSEN);
        assert_eq!(Agreed::default(), Agreed::NOTHING);
    }
}
