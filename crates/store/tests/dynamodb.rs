//! What DynamoDB does to us when it fails, and what we make of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tegata_core::{
    Backstop as _, Clock as _, ManualClock, Realm, Secret, StoreError, port::Withdrawal,
};
use tegata_engines::{DynamoKind, DynamoServer, Mode, Proxy, process::free_port};
use tegata_store::{DynamoBackstop, DynamoConfig, DynamoRefused, dynamodb::DynamoKeys};
use tokio::task::JoinSet;

/// How long something may take on a busy machine until the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

const SECRET: &str = "never-to-be-seen";

fn config(call: Duration) -> DynamoConfig {
    let secret = Secret::new(SECRET.to_owned());
    DynamoConfig { connect: call, call, keys: DynamoKeys::Given { id: "tester".into(), secret } }
}

/// A name of a table that no other test has.
fn table() -> String {
    static TABLES: AtomicU32 = AtomicU32::new(0);
    format!("table-{}", TABLES.fetch_add(1, Ordering::SeqCst))
}

async fn opened(url: &str, call: Duration) -> Result<DynamoBackstop, DynamoRefused> {
    DynamoBackstop::open(url, config(call), Arc::new(ManualClock::default())).await
}

fn withdrawal(key: &str, mark: u64, secs: u64) -> Withdrawal {
    // The clock of these tests stands still.
    let until = ManualClock::default().now() + Duration::from_secs(secs);
    Withdrawal { key: key.to_owned(), mark, until }
}

async fn record(on: &DynamoBackstop, all: &[Withdrawal]) -> Result<(), StoreError> {
    on.record(&Realm::default(), all).await
}

async fn withdrawn(on: &DynamoBackstop, key: &str) -> Result<Option<Withdrawal>, StoreError> {
    on.withdrawn(&Realm::default(), key).await
}

#[tokio::test]
async fn an_answer_that_is_lost_is_not_a_refusal_and_repeating_is_harmless() {
    for kind in [DynamoKind::Dynalite, DynamoKind::Moto] {
        let server = DynamoServer::shared(kind);
        let proxy = Proxy::before(server.port());
        let table = table();
        let through = opened(&server.url_at(&table, proxy.port()), PATIENCE).await.unwrap();
        let direct = opened(&server.url(&table), PATIENCE).await.unwrap();
        let one = withdrawal("lost", 7, 100);
        proxy.set(Mode::LoseAnswers { one_in: 1, seed: 1 });
        let lost = record(&through, std::slice::from_ref(&one)).await;
        assert!(matches!(lost, Err(StoreError::Indeterminate { .. })), "{lost:?}");
        // It was done.
        assert_eq!(withdrawn(&direct, "lost").await.unwrap(), Some(one.clone()));
        proxy.set(Mode::Sound);
        record(&through, std::slice::from_ref(&one)).await.unwrap();
        assert_eq!(withdrawn(&through, "lost").await.unwrap(), Some(one));
    }
}

#[tokio::test]
async fn nothing_was_recorded_where_nobody_was_reached() {
    // Whoever begins while nobody is there goes on without, and does not fail.
    let url = format!("dynamodb://nobody?region=r&endpoint=http://127.0.0.1:{}", free_port());
    let away = opened(&url, PATIENCE).await.unwrap();
    let refused = record(&away, &[withdrawal("away", 1, 100)]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    let asked = withdrawn(&away, "away").await;
    assert!(matches!(asked, Err(StoreError::Unavailable { .. })), "{asked:?}");
}

#[tokio::test]
async fn silence_costs_what_was_set_and_is_asked_once() {
    let server = DynamoServer::start(DynamoKind::Dynalite);
    let proxy = Proxy::before(server.port());
    let url = server.url_at(&table(), proxy.port());
    let short = Duration::from_millis(200);
    let patient = opened(&url, PATIENCE).await.unwrap();
    record(&patient, &[withdrawal("there", 1, 100)]).await.unwrap();
    let hasty = opened(&url, short).await.unwrap();
    let calls = || server.calls("UpdateItem") + server.calls("GetItem");
    let before = calls();
    proxy.set(Mode::Delay(PATIENCE));
    let many: Vec<_> = (0..50).map(|n| withdrawal(&format!("k{n}"), 1, 100)).collect();
    let silent = record(&hasty, &many).await;
    assert!(matches!(silent, Err(StoreError::Indeterminate { .. })), "{silent:?}");
    let silent = withdrawn(&hasty, "there").await;
    assert!(matches!(silent, Err(StoreError::Unavailable { .. })), "{silent:?}");
    assert!(calls() - before <= 2, "{} calls", calls() - before);
}

#[tokio::test]
async fn one_call_alone_meets_a_throttle() {
    let server = DynamoServer::start(DynamoKind::Dynalite);
    let dynamo = opened(&server.url(&table()), PATIENCE).await.unwrap();
    server.throttle(true);
    let calls = || server.calls("UpdateItem");
    let many: Vec<_> = (0..50).map(|n| withdrawal(&format!("k{n}"), 1, 100)).collect();
    let refused = record(&dynamo, &many).await.unwrap_err();
    assert_eq!(calls(), 1);
    let said = refused.to_string();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{said}");
    assert!(said.contains("ProvisionedThroughputExceeded"), "{said}");
    server.throttle(false);
    record(&dynamo, &many).await.unwrap();
    // One each, and the one that went ahead in vain.
    assert_eq!(calls(), 51);
}

#[tokio::test]
async fn writers_converge_whatever_their_order() {
    for kind in [DynamoKind::Dynalite, DynamoKind::Moto] {
        let url = DynamoServer::shared(kind).url(&table());
        let nodes = [opened(&url, PATIENCE).await.unwrap(), opened(&url, PATIENCE).await.unwrap()];
        let mut state: u64 = 7;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % 8
        };
        for round in 0..12 {
            let key = format!("round-{round}");
            // Few values, so that marks and ends are often equal, and rarely greatest together.
            let values: Vec<_> = (0..6).map(|_| (draw(), draw() + 10)).collect();
            let mut writers = JoinSet::new();
            for (n, (mark, secs)) in values.iter().enumerate() {
                let (node, one) = (nodes[n % 2].clone(), withdrawal(&key, *mark, *secs));
                writers.spawn(async move { record(&node, &[one]).await });
            }
            assert!(writers.join_all().await.iter().all(Result::is_ok));
            let mark = values.iter().map(|(mark, _)| *mark).max().unwrap();
            let secs = values.iter().map(|(_, secs)| *secs).max().unwrap();
            for node in &nodes {
                let stands = withdrawn(node, &key).await.unwrap();
                assert_eq!(stands, Some(withdrawal(&key, mark, secs)), "{values:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_has_passed_is_in_the_table_and_is_not_answered() {
    let server = DynamoServer::shared(DynamoKind::Moto);
    let table = table();
    let clock = Arc::new(ManualClock::default());
    let url = server.url(&table);
    let dynamo = DynamoBackstop::open(&url, config(PATIENCE), clock.clone()).await.unwrap();
    let one = withdrawal("passed", 3, 60);
    record(&dynamo, std::slice::from_ref(&one)).await.unwrap();
    clock.advance(Duration::from_secs(61));
    assert_eq!(withdrawn(&dynamo, "passed").await.unwrap(), None);
    let (_, said) = server.ask(
        "GetItem",
        &format!(r#"{{"TableName":"{table}","Key":{{"key":{{"S":"default/passed"}}}}}}"#),
    );
    // DynamoDB may delete it a day after its end.
    let expires = one.until.millis() / 1000 + 86_400;
    assert!(said.replace(' ', "").contains(&format!(r#""expires":{{"N":"{expires}"}}"#)), "{said}");
    let (_, forgets) = server.ask("DescribeTimeToLive", &format!(r#"{{"TableName":"{table}"}}"#));
    assert!(forgets.contains("ENABLED") && forgets.contains("expires"), "{forgets}");
}

#[tokio::test]
async fn an_item_that_is_not_ours_is_damage_and_no_answer() {
    let server = DynamoServer::shared(DynamoKind::Dynalite);
    let table = table();
    let dynamo = opened(&server.url(&table), PATIENCE).await.unwrap();
    for item in [
        r#"{"key":{"S":"default/odd"}}"#,
        r#"{"key":{"S":"default/odd"},"mark":{"S":"1"},"until":{"N":"1"}}"#,
        r#"{"key":{"S":"default/odd"},"mark":{"N":"1"},"until":{"N":"-1"}}"#,
        r#"{"key":{"S":"default/odd"},"mark":{"N":"18446744073709551616"},"until":{"N":"9e30"}}"#,
    ] {
        let body = format!(r#"{{"TableName":"{table}","Item":{item}}}"#);
        assert_eq!(server.ask("PutItem", &body).0, 200);
        let asked = withdrawn(&dynamo, "odd").await;
        assert!(matches!(asked, Err(StoreError::Corrupt { .. })), "{item}: {asked:?}");
    }
}

#[tokio::test]
async fn a_table_with_other_keys_is_refused_with_the_commands_that_make_one() {
    let server = DynamoServer::shared(DynamoKind::Dynalite);
    for (attributes, keys, part) in [
        ("id:S", "id:HASH", "by `id`"),
        ("key:N", "key:HASH", "is no string"),
        ("key:S realm:S", "key:HASH realm:RANGE", "by `key` and `realm`"),
    ] {
        let table = table();
        let list = |text: &str, kind: &str| {
            let one = |it: &str| {
                let (name, value) = it.split_once(':').unwrap();
                format!(r#"{{"AttributeName":"{name}","{kind}":"{value}"}}"#)
            };
            text.split(' ').map(one).collect::<Vec<_>>().join(",")
        };
        let (status, said) = server.ask(
            "CreateTable",
            &format!(
                r#"{{"TableName":"{table}","BillingMode":"PAY_PER_REQUEST",
                    "AttributeDefinitions":[{}],"KeySchema":[{}]}}"#,
                list(attributes, "AttributeType"),
                list(keys, "KeyType")
            ),
        );
        assert_eq!(status, 200, "{said}");
        let refused = opened(&server.url(&table), PATIENCE).await.unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, DynamoRefused::Table { .. }), "{said}");
        assert!(said.contains(part) && said.contains("aws dynamodb create-table"), "{said}");
    }
}

#[tokio::test]
async fn nothing_that_can_be_printed_shows_the_secret() {
    let server = DynamoServer::shared(DynamoKind::Dynalite);
    let dynamo = opened(&server.url(&table()), PATIENCE).await.unwrap();
    let printed = format!("{:?} {dynamo:?}", config(PATIENCE));
    assert!(!printed.contains(SECRET), "{printed}");
}
