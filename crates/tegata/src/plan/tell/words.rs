//! The words of a plan, each in English and in Japanese, so that no language can lack one.

use crate::plan::{
    assumed::Origin,
    baseline::{Baseline, Sizing},
    bill::Item,
};

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Lang {
    /// English.
    #[default]
    En,
    /// Japanese.
    Ja,
}

/// A text in English and in Japanese.
pub(super) type Text = [&'static str; 2];

impl Lang {
    /// The tag (BCP 47) of the language.
    pub(super) const fn tag(self) -> &'static str {
        self.of(["en", "ja"])
    }

    /// Its own name for itself.
    pub(super) const fn name(self) -> &'static str {
        self.of(["English", "日本語"])
    }

    /// The other one.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::En => Self::Ja,
            Self::Ja => Self::En,
        }
    }

    /// A text in this language.
    pub(super) const fn of(self, [english, japanese]: Text) -> &'static str {
        match self {
            Self::En => english,
            Self::Ja => japanese,
        }
    }
}

/// Where a number comes from.
pub(super) const fn origin(origin: Origin) -> Text {
    match origin {
        Origin::Example => ["example", "例"],
        Origin::Measured => ["measured", "実測"],
        Origin::Assumed => ["assumed", "仮定"],
    }
}

/// What a line of a bill is for.
pub(super) const fn item(item: Item) -> Text {
    match item {
        Item::Nodes => ["nodes of Tegata", "Tegata のノード"],
        Item::NodeMemory => ["more memory in them, GiB", "ノードの追加メモリー（GiB）"],
        Item::Postgres => ["PostgreSQL servers", "PostgreSQL サーバー"],
        Item::Storage => ["disk under the store, GB", "ストアのディスク（GB）"],
        Item::Redis => ["Redis nodes", "Redis ノード"],
        Item::Nats => ["NATS servers", "NATS サーバー"],
        Item::DynamodbReads => ["DynamoDB read units", "DynamoDB 読み取りユニット"],
        Item::DynamodbWrites => ["DynamoDB write units", "DynamoDB 書き込みユニット"],
        Item::DynamodbStorage => ["DynamoDB storage, GB", "DynamoDB ストレージ（GB）"],
        Item::Transfer => ["transfer, GB", "転送（GB）"],
    }
}

/// What Tegata is called beside what it is compared with.
pub(super) const TEGATA: Text =
    ["Tegata: status lists in each node", "Tegata：各ノードのステータスリスト"];

/// What a baseline is called.
pub(super) const fn baseline(baseline: &Baseline) -> Text {
    match baseline.sizing {
        Sizing::Load => {
            ["Redis key per token, for this load", "Redis キー方式（この負荷に合わせた規模）"]
        }
        Sizing::Example => {
            ["Redis key per token, as the example", "Redis キー方式（例に比例した規模）"]
        }
    }
}

/// What the example is, in a sentence.
pub(super) const EXAMPLE: Text = [
    "a Redis key per revoked token, checked at each request",
    "失効トークンごとに Redis のキーを置き、リクエストのたびに確認する方式",
];

/// What a note is called.
pub(super) const NOTE: Text = ["note", "注"];

/// What the read units of DynamoDB are for.
pub(super) const DYNAMODB_READS: Text = [
    "While all is well nodes only write to DynamoDB; its read units are for asking it when others are away.",
    "平常時、ノードは DynamoDB に書き込むだけです。読み取りユニットは、他の層が使えないときの問い合わせ用です。",
];

/// What no plan counts.
pub(super) const NOT_COUNTED: Text = [
    "Not counted: load balancers, backups, logs and their disks, monitoring, taxes, and people's work.",
    "含まないもの：ロードバランサー、バックアップ、ログとそのディスク、監視、税、人の作業。",
];

/// What the prices are.
pub(super) const PRICES_ARE_EXAMPLES: Text = [
    "All prices are examples; replace them with `--prices FILE` or `--price NAME=DOLLARS`.",
    "価格はすべて例です。`--prices FILE` または `--price NAME=DOLLARS` で置き換えてください。",
];
