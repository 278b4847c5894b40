//! What categories are called, and what they are for, in the languages of the pages.

use super::{Category, Words};

impl Category {
    /// What it is called.
    #[must_use]
    pub const fn title(self) -> Words {
        Words::fixed(match self {
            Self::Essential => ("Essential", "必須"),
            Self::Functional => ("Functional", "機能"),
            Self::Analytics => ("Analytics", "分析"),
            Self::Marketing => ("Marketing", "マーケティング"),
        })
    }

    /// What its cookies are for.
    #[must_use]
    pub const fn meaning(self) -> Words {
        Words::fixed(match self {
            Self::Essential => (
                "What you ask for cannot be done without them, so they cannot be refused.",
                "ご希望の操作に欠かせないため、拒否できません。",
            ),
            Self::Functional => (
                "They remember what you chose, such as the language.",
                "言語など、選択した内容を記憶します。",
            ),
            Self::Analytics => {
                ("They let us count how the pages are used.", "ページの利用状況を集計します。")
            }
            Self::Marketing => (
                "They choose advertisements for you and count what came of them.",
                "広告を選び、その効果を計測します。",
            ),
        })
    }
}
