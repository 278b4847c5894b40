//! What the model takes for granted and anybody may replace: prices, which are examples, and figures,
//! most of which were measured.

use serde::{Deserialize, Deserializer, de};

use super::money::{Money, Number, Percent};

/// Where a number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// An example, to be replaced.
    Example,
    /// Measured: `docs/plan.md` says how.
    Measured,
    /// A guess that errs on the dear side.
    Assumed,
}

/// A number that the model takes for granted, to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The name by which it is replaced.
    pub(crate) name: &'static str,
    /// Its value, as it is written in a file.
    pub(crate) value: f64,
    /// Its unit, and what it is: in English and in Japanese.
    pub(crate) what: [&'static str; 2],
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// What can stand in a table of numbers.
trait Amount {
    fn number(self) -> f64;
}

impl Amount for Money {
    fn number(self) -> f64 {
        self.dollars()
    }
}

impl Amount for Percent {
    fn number(self) -> f64 {
        Self::number(self)
    }
}

impl Amount for Figure {
    fn number(self) -> f64 {
        self.0
    }
}

/// A measured or assumed number: above 0, and not absurd.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure(f64);

impl Figure {
    /// The number.
    pub(crate) const fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(Number("what it counts"))?;
        if (1e-9..=1e12).contains(&number) {
            Ok(Self(number))
        } else {
            let wrong = "is not a figure to plan with: write a number from 0.000000001 to 1e12";
            Err(de::Error::custom(format!("`{number}` {wrong}")))
        }
    }
}

/// Makes a struct of numbers with defaults, which is read from a file, and their list.
macro_rules! numbers {
    (
        $(#[$about:meta])* $table:ident;
        $($name:ident: $kind:ty = $default:expr, $origin:ident, $english:literal, $japanese:literal;)+
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $table {
            $(#[doc = $english] pub(crate) $name: $kind,)+
        }

        impl Default for $table {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl $table {
            /// All of them, with what they are.
            pub(crate) fn rows(&self) -> Vec<Row> {
                vec![$(Row {
                    name: stringify!($name),
                    value: Amount::number(self.$name),
                    what: [$english, $japanese],
                    origin: Origin::$origin,
                },)+]
            }
        }
    };
}

numbers! {
    /// What things cost in a month. All of these are examples.
    Prices;
    node: Money = Money::micros(105_000_000), Example,
        "$ a month: a node, such as an AWS c7g.xlarge",
        "ドル/月：Tegata のノード 1 台（例：AWS c7g.xlarge）";
    node_memory_gib: Money = Money::micros(4_000_000), Example,
        "$ a month: one more GiB of memory in a node",
        "ドル/月：ノードに追加するメモリー 1 GiB";
    postgres: Money = Money::micros(250_000_000), Example,
        "$ a month: a PostgreSQL server, such as a db.m7g.xlarge",
        "ドル/月：PostgreSQL サーバー 1 台（例：AWS db.m7g.xlarge）";
    storage_gb: Money = Money::micros(120_000), Example,
        "$ a month: a GB of disk under the store",
        "ドル/月：ストアのディスク 1 GB";
    redis: Money = Money::micros(150_000_000), Example,
        "$ a month: a Redis node, such as an r6g.xlarge",
        "ドル/月：Redis のノード 1 台（例：AWS r6g.xlarge）";
    nats: Money = Money::micros(30_000_000), Example,
        "$ a month: a NATS server",
        "ドル/月：NATS サーバー 1 台";
    dynamodb_read: Money = Money::micros(24_750), Example,
        "$ a month: a read unit, one read of 4 KB a second",
        "ドル/月：DynamoDB の読み取りユニット（毎秒 4 KB を 1 回）";
    dynamodb_write: Money = Money::micros(123_750), Example,
        "$ a month: a write unit, one write of 1 KB a second",
        "ドル/月：DynamoDB の書き込みユニット（毎秒 1 KB を 1 回）";
    dynamodb_gb: Money = Money::micros(250_000), Example,
        "$ a month: a GB in DynamoDB",
        "ドル/月：DynamoDB の 1 GB";
    transfer_gb: Money = Money::micros(50_000), Example,
        "$: a GB moved over the network",
        "ドル：ネットワーク転送 1 GB";
    reserved_discount: Percent = Percent::whole(30), Example,
        "% that machines cost less when they are reserved",
        "%：マシンを予約したときの割引";
}

numbers! {
    /// What a thing costs the machines, and how large machines are.
    Figures;
    node_cores: Figure = Figure(4.0), Example,
        "cores of a node", "ノードのコア数";
    node_gib: Figure = Figure(8.0), Example,
        "GiB of memory of a node", "ノードのメモリー（GiB）";
    postgres_cores: Figure = Figure(4.0), Example,
        "cores of a PostgreSQL server", "PostgreSQL サーバーのコア数";
    postgres_servers: Figure = Figure(2.0), Example,
        "PostgreSQL servers: the primary, and who stands by", "PostgreSQL サーバーの台数（プライマリーと待機系）";
    redis_gib: Figure = Figure(26.0), Example,
        "GiB of memory of a Redis node", "Redis ノードのメモリー（GiB）";
    sign_in_ms: Figure = Figure(25.0), Measured,
        "ms of a node's core for a sign-in, mostly Argon2id", "サインイン 1 回にノードのコアが使う時間（ms、大半は Argon2id）";
    refresh_ms: Figure = Figure(0.8), Measured,
        "ms of a node's core for a refresh", "更新 1 回にノードのコアが使う時間（ms）";
    check_ms: Figure = Figure(0.03), Measured,
        "ms of a node's core for a call, with its check", "ゲートウェイ経由の呼び出し 1 回にノードのコアが使う時間（ms、検査を含む）";
    revoke_ms: Figure = Figure(0.3), Measured,
        "ms of a node's core for a token taken back", "トークン 1 個の失効にノードのコアが使う時間（ms）";
    sign_out_ms: Figure = Figure(0.9), Measured,
        "ms of a node's core for a sign-out", "サインアウト 1 回にノードのコアが使う時間（ms）";
    postgres_sign_in_ms: Figure = Figure(2.5), Measured,
        "ms of PostgreSQL's core for a sign-in", "サインイン 1 回に PostgreSQL のコアが使う時間（ms）";
    postgres_refresh_ms: Figure = Figure(0.6), Measured,
        "ms of PostgreSQL's core for a refresh", "更新 1 回に PostgreSQL のコアが使う時間（ms）";
    postgres_revoke_ms: Figure = Figure(0.4), Measured,
        "ms of PostgreSQL's core for a token taken back", "トークン 1 個の失効に PostgreSQL のコアが使う時間（ms）";
    postgres_sign_out_ms: Figure = Figure(1.4), Measured,
        "ms of PostgreSQL's core for a sign-out", "サインアウト 1 回に PostgreSQL のコアが使う時間（ms）";
    user_bytes: Figure = Figure(1_600.0), Measured,
        "bytes of the store for a person", "利用者 1 人がストアに占めるバイト数";
    sign_in_bytes: Figure = Figure(3_000.0), Measured,
        "bytes of the store for a sign-in, its tokens, its event", "サインイン 1 回がストアに占めるバイト数（トークンファミリーとイベント）";
    session_bytes: Figure = Figure(1_100.0), Measured,
        "bytes of the store for a browser session", "ブラウザーセッション 1 個がストアに占めるバイト数";
    revoke_bytes: Figure = Figure(900.0), Measured,
        "bytes of the store for a token taken back", "トークン 1 個の失効がストアに占めるバイト数（ログとイベント）";
    sign_out_bytes: Figure = Figure(3_300.0), Measured,
        "bytes of the store for a sign-out", "サインアウト 1 回がストアに占めるバイト数（ログとイベント）";
    sign_in_log_bytes: Figure = Figure(4_400.0), Measured,
        "bytes of write-ahead log for a sign-in", "サインイン 1 回の先行書き込みログ（バイト）";
    refresh_log_bytes: Figure = Figure(1_500.0), Measured,
        "bytes of write-ahead log for a refresh", "更新 1 回の先行書き込みログ（バイト）";
    revoke_log_bytes: Figure = Figure(2_200.0), Measured,
        "bytes of write-ahead log for a token taken back", "トークン 1 個の失効の先行書き込みログ（バイト）";
    sign_out_log_bytes: Figure = Figure(8_200.0), Measured,
        "bytes of write-ahead log for a sign-out", "サインアウト 1 回の先行書き込みログ（バイト）";
    redis_sign_in_commands: Figure = Figure(4.0), Measured,
        "commands to Redis for a sign-in", "サインイン 1 回の Redis コマンド数";
    redis_refresh_commands: Figure = Figure(5.0), Measured,
        "commands to Redis for a refresh", "更新 1 回の Redis コマンド数";
    redis_sign_out_commands: Figure = Figure(7.0), Measured,
        "commands to Redis for a sign-out", "サインアウト 1 回の Redis コマンド数";
    redis_person_bytes: Figure = Figure(800.0), Measured,
        "bytes of Redis for who signed in or refreshed of late", "直近 15 分にサインインまたは更新した 1 人が Redis に占めるバイト数";
    redis_rate: Figure = Figure(119_900.0), Measured,
        "commands a second that one Redis answers at most", "Redis 1 台が毎秒処理できるコマンド数";
    redis_key_bytes: Figure = Figure(128.0), Measured,
        "bytes of Redis for the key of a token taken back", "失効トークンのキー 1 個が Redis に占めるバイト数";
    redis_trip_us: Figure = Figure(22.0), Measured,
        "µs to ask an idle Redis on the same machine", "同じマシンの空いている Redis への問い合わせ時間（µs）";
    look_us: Figure = Figure(0.045), Measured,
        "µs for a look into a status list", "ステータスリストを見る時間（µs）";
    list_bytes: Figure = Figure(131_504.0), Measured,
        "bytes of memory for a status list of 1,048,576 tokens", "1,048,576 トークンのステータスリストがノードのメモリーに占めるバイト数";
    name_bytes: Figure = Figure(120.0), Measured,
        "bytes of memory for a session or family that has ended", "終了したセッションまたはファミリーの名前 1 個がノードのメモリーに占めるバイト数";
    node_base_mib: Figure = Figure(256.0), Measured,
        "MiB of memory for all else, while people sign in", "それ以外にサインイン中のノードが使うメモリー（MiB）";
    answer_bytes: Figure = Figure(2_000.0), Measured,
        "bytes of the answer to a sign-in or refresh", "サインインと更新の応答のバイト数";
    entry_bytes: Figure = Figure(400.0), Assumed,
        "bytes of a revocation on its way to a node", "失効情報 1 件を 1 ノードへ届けるバイト数（プッシュとプル）";
    redis_check_bytes: Figure = Figure(200.0), Assumed,
        "bytes of a question to Redis and its answer", "Redis への問い合わせと応答のバイト数（ヘッダーを含む）";
    redis_key_hours: Figure = Figure(24.0), Assumed,
        "hours that Redis keeps the key of a token taken back", "失効トークンのキーを Redis に残す時間（時間）";
    fallback_percent: Percent = Percent::whole(1), Assumed,
        "% of checks that DynamoDB must answer", "Redis が間に合わず DynamoDB が答える検査の割合（%）";
    fill_percent: Percent = Percent::whole(75), Assumed,
        "% of memory and disks that is used", "増設前に使うメモリーの割合（%）";
    largest_cores: Figure = Figure(128.0), Assumed,
        "cores of the largest database server there is", "入手できる最大のデータベースサーバーのコア数";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_name_of_its_own_and_words() {
        let rows = [Prices::default().rows(), Figures::default().rows()].concat();
        let mut names: Vec<_> = rows.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rows.len());
        for row in &rows {
            assert!(
                row.value > 0.0 && row.what.iter().all(|text| !text.is_empty()),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn a_figure_is_a_number_that_can_be_calculated_with() {
        let read = |text: &str| toml::from_str::<Figures>(text);
        assert_eq!(read("node_cores = 8").unwrap().node_cores.get(), 8.0);
        for bad in ["0", "-1", "nan", "inf", "1e13", "\"many\"", "true"] {
            assert!(read(&format!("node_cores = {bad}")).is_err(), "{bad}");
        }
        assert!(read("node_core = 1").is_err());
    }
}
