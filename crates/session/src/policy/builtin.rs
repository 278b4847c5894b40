//! The cookies that the table knows by itself: those of our own, and those that many shops have.

use std::time::Duration;

use super::{Row, Setter, Words, pattern::Pattern};
use crate::{
    cookie::{Attributes, CookieName, CookieTable, Environment, LONGEST_LIFE, SameSite},
    policy::Category,
};

const DAY: Duration = Duration::from_secs(86_400);

/// A cookie that many shops have.
struct Known {
    name: &'static str,
    category: Category,
    set_by: Setter,
    /// In days. `None`: until the browser closes.
    days: Option<u32>,
    http_only: bool,
    same_site: SameSite,
    purpose: (&'static str, &'static str),
}

/// The names of the cookies that can be left out.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.name)
}

/// Those that many shops have, in an environment. In development nothing is `Secure`, so what would
/// be sent with requests of other sites is not.
pub(super) fn known(environment: Environment, domain: Option<&str>) -> Vec<Row> {
    let secure = environment != Environment::Development;
    let row = |known: &Known| {
        let same_site = match known.same_site {
            SameSite::None if !secure => SameSite::Lax,
            same_site => same_site,
        };
        let life = known.days.map(|days| DAY * days);
        Some(Row {
            name: Pattern::parse(known.name)?,
            category: known.category,
            purpose: Words::fixed(known.purpose),
            set_by: known.set_by,
            life,
            attributes: Attributes {
                secure,
                http_only: known.http_only,
                same_site,
                path: "/".into(),
                domain: domain.map(str::to_owned),
                max_age: life.map(|life| life.min(LONGEST_LIFE)),
            },
        })
    };
    KNOWN.iter().filter_map(row).collect()
}

/// Our own, as they are set.
pub(super) fn own(table: &CookieTable) -> Vec<Row> {
    let row = |name: CookieName| {
        let cookie = table.cookie(name);
        Some(Row {
            name: Pattern::parse(cookie.name())?,
            category: Category::Essential,
            purpose: Words::fixed(purpose(name)),
            set_by: Setter::Tegata,
            life: cookie.attributes().max_age,
            attributes: cookie.attributes().clone(),
        })
    };
    CookieName::ALL.into_iter().filter_map(row).collect()
}

const fn purpose(name: CookieName) -> (&'static str, &'static str) {
    match name {
        CookieName::Session => ("Keeps you signed in.", "ログイン状態を保ちます。"),
        CookieName::Refresh => (
            "Renews the access of the pages that you are signed in to.",
            "ログイン中のページのアクセス権を更新します。",
        ),
        CookieName::Consent => {
            ("Remembers which cookies you agreed to.", "同意した Cookie の種類を記憶します。")
        }
        CookieName::Csrf => (
            "Protects the sign-in form from being sent by other sites.",
            "ログイン画面が他のサイトから送信されるのを防ぎます。",
        ),
    }
}

static KNOWN: [Known; 9] = [
    Known {
        name: "cart_id",
        category: Category::Essential,
        set_by: Setter::Service,
        days: Some(7),
        http_only: true,
        same_site: SameSite::Lax,
        purpose: ("Keeps what you put into the cart.", "カートの中身を保ちます。"),
    },
    Known {
        name: "user_prefs",
        category: Category::Functional,
        set_by: Setter::Service,
        days: Some(365),
        http_only: false,
        same_site: SameSite::Lax,
        purpose: ("Remembers how you set up the pages.", "画面の設定を記憶します。"),
    },
    Known {
        name: "language",
        category: Category::Functional,
        set_by: Setter::Service,
        days: Some(365),
        http_only: false,
        same_site: SameSite::Lax,
        purpose: ("Remembers the language that you chose.", "選択した言語を記憶します。"),
    },
    Known {
        name: "currency",
        category: Category::Functional,
        set_by: Setter::Service,
        days: Some(365),
        http_only: false,
        same_site: SameSite::Lax,
        purpose: ("Remembers the currency that you chose.", "選択した通貨を記憶します。"),
    },
    Known {
        name: "_ga",
        category: Category::Analytics,
        set_by: Setter::Script,
        days: Some(730),
        http_only: false,
        same_site: SameSite::None,
        purpose: (
            "Google Analytics: tells visitors apart to count how the pages are used.",
            "Google Analytics: 利用状況を集計するため訪問者を区別します。",
        ),
    },
    Known {
        name: "_gid",
        category: Category::Analytics,
        set_by: Setter::Script,
        days: Some(1),
        http_only: false,
        same_site: SameSite::None,
        purpose: (
            "Google Analytics: tells the visitors of a day apart.",
            "Google Analytics: その日の訪問者を区別します。",
        ),
    },
    Known {
        name: "utm_*",
        category: Category::Analytics,
        set_by: Setter::Script,
        days: Some(180),
        http_only: false,
        same_site: SameSite::Lax,
        purpose: (
            "Remembers which link or campaign brought you here.",
            "どのリンクやキャンペーンから訪れたかを記憶します。",
        ),
    },
    Known {
        name: "_fbp",
        category: Category::Marketing,
        set_by: Setter::Script,
        days: Some(90),
        http_only: false,
        same_site: SameSite::Lax,
        purpose: (
            "Meta: recognises your browser to choose and count advertisements.",
            "Meta: 広告の選択と計測のためブラウザーを識別します。",
        ),
    },
    Known {
        name: "ads_*",
        category: Category::Marketing,
        set_by: Setter::Script,
        days: Some(90),
        http_only: false,
        same_site: SameSite::None,
        purpose: (
            "Chooses advertisements and counts what came of them.",
            "広告を選び、その効果を計測します。",
        ),
    },
];
