//! Pushed authorization requests: answered once, of one browser and of their own client, and judged like
//! any other.

use std::{sync::Arc, time::Duration};

use tegata_core::{Ephemeral, ManualClock};
use tegata_engines::PostgresServer;
use tegata_oauth::{GrantType, NotAuthorized, Unsafe};
use tegata_store::{MemoryEphemeral, Postgres, PostgresConfig, Sqlite, SqliteConfig};
use tokio::task::JoinSet;

use super::world::{CALLBACK, World, after, asked, error, params};

/// Everybody waits for a connection until they have one.
const PATIENCE: Duration = Duration::from_secs(120);

const EXPIRED: NotAuthorized = NotAuthorized::Page(Unsafe::Expired);

#[tokio::test]
async fn a_pushed_request_is_of_one_browser_and_is_what_was_pushed() {
    let world = World::new().await;
    let web = world.web().await;
    let pushed = world.provider.push(&web, &asked(&[("state", "pushed")])).await.unwrap();
    assert!(pushed.request_uri.starts_with("urn:ietf:params:oauth:request_uri:"));
    assert_eq!(pushed.expires_in, Duration::from_secs(60));
    assert!(!format!("{pushed:?}").contains(&pushed.request_uri));
    // What stands beside it counts for nothing.
    let beside = [
        ("client_id", "web"),
        ("request_uri", pushed.request_uri.as_str()),
        ("state", "beside"),
        ("scope", "payments.write"),
        ("redirect_uri", "https://evil.example"),
    ];
    let (request, _) = world.provider.authorization_request(&params(&beside)).await.unwrap();
    assert_eq!(request.state.as_deref(), Some("pushed"));
    assert_eq!(request.scope.as_str(), "openid orders.read");
    assert_eq!(request.redirect_uri, CALLBACK);
    let again = world.provider.authorization_request(&params(&beside)).await.unwrap_err();
    assert_eq!(again, EXPIRED);
}

#[tokio::test]
async fn its_browser_can_bring_it_again_until_it_is_answered() {
    let world = World::new().await;
    let web = world.web().await;
    let uri = world.provider.push(&web, &asked(&[("prompt", "login")])).await.unwrap().request_uri;
    let of = params(&[("client_id", "web"), ("request_uri", &uri)]);
    let bring = async |browser| world.provider.authorization_request_of(&of, browser).await;
    let (first, _) = bring("one").await.unwrap();
    after(&world.clock, 20);
    // It is the same request: a sign-in since is one for it.
    let who = world.signed_in();
    let (again, client) = bring("one").await.unwrap();
    assert_eq!(again, first);
    let next = world.provider.next(&again, &client, Some(&who), tegata_oauth::Said::default());
    assert_ne!(next.await.unwrap(), tegata_oauth::Next::SignIn);
    for other in ["two", "", "One", "one "] {
        assert_eq!(bring(other).await.unwrap_err(), EXPIRED, "{other:?}");
    }
    // It expires for its browser too, and its person may still answer.
    after(&world.clock, 39);
    assert!(bring("one").await.is_ok());
    after(&world.clock, 1);
    assert_eq!(bring("one").await.unwrap_err(), EXPIRED);
    after(&world.clock, 300);
    assert!(world.provider.use_up(&first).await.unwrap());
    assert!(!world.provider.use_up(&again).await.unwrap());
    assert_eq!(bring("one").await.unwrap_err(), EXPIRED);
    // What was not pushed can be answered as often as it is asked.
    let plain = world.request(&[]).await;
    assert!(world.provider.use_up(&plain).await.unwrap());
    assert!(world.provider.use_up(&plain).await.unwrap());
}

#[tokio::test]
async fn after_an_answer_nobody_can_bring_it() {
    let world = World::new().await;
    let web = world.web().await;
    let uri = world.provider.push(&web, &asked(&[])).await.unwrap().request_uri;
    let of = params(&[("client_id", "web"), ("request_uri", &uri)]);
    let (request, _) = world.provider.authorization_request_of(&of, "one").await.unwrap();
    // It is held for a person meanwhile, and is the same there.
    let handle = world.provider.hold(&request).await.unwrap();
    let (held, _) = world.provider.held(&handle).await.unwrap().unwrap();
    assert_eq!(held, request);
    assert!(world.provider.use_up(&held).await.unwrap());
    for browser in ["one", "two"] {
        let refused = world.provider.authorization_request_of(&of, browser).await.unwrap_err();
        assert_eq!(refused, EXPIRED);
    }
    assert!(!format!("{request:?}").contains(&uri));
}

#[tokio::test]
async fn another_client_cannot_use_it_nor_use_it_up() {
    let world = World::new().await;
    let web = world.web().await;
    world.client("other", &[GrantType::AuthorizationCode], |_| {}).await;
    let uri = world.provider.push(&web, &asked(&[])).await.unwrap().request_uri;
    let of = |client| params(&[("client_id", client), ("request_uri", &uri)]);
    let refused = world.provider.authorization_request(&of("other")).await.unwrap_err();
    assert_eq!(refused, EXPIRED);
    assert!(world.provider.authorization_request(&of("web")).await.is_ok());
}

#[tokio::test]
async fn it_waits_a_minute_and_no_longer() {
    let world = World::new().await;
    let web = world.web().await;
    let uri = async || world.provider.push(&web, &asked(&[])).await.unwrap().request_uri;
    let (fresh, old) = (uri().await, uri().await);
    let of = |uri: &str| params(&[("client_id", "web"), ("request_uri", uri)]);
    after(&world.clock, 59);
    assert!(world.provider.authorization_request(&of(&fresh)).await.is_ok());
    after(&world.clock, 1);
    assert_eq!(world.provider.authorization_request(&of(&old)).await.unwrap_err(), EXPIRED);
    for odd in ["urn:ietf:params:oauth:request_uri:", "urn:ietf:params:oauth:request_uri:é"] {
        assert_eq!(world.provider.authorization_request(&of(odd)).await.unwrap_err(), EXPIRED);
    }
}

#[tokio::test]
async fn everything_is_judged_when_it_is_pushed() {
    let world = World::new().await;
    let web = world.web().await;
    for (change, expected) in [
        (("redirect_uri", "https://evil.example/cb"), "invalid_request"),
        (("redirect_uri", ""), "invalid_request"),
        (("client_id", "other"), "invalid_request"),
        (("request_uri", "urn:ietf:params:oauth:request_uri:x"), "invalid_request"),
        (("request_uri", "https://app.example/request"), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("response_mode", "fragment"), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("scope", "admin"), "invalid_scope"),
        (("resource", "https://nowhere.example"), "invalid_target"),
        (("request", "x.y.z"), "invalid_request_object"),
    ] {
        let refused = world.provider.push(&web, &asked(&[change])).await.unwrap_err();
        assert_eq!(error(refused), expected, "{change:?}");
    }
}

#[tokio::test]
async fn a_client_that_must_push_cannot_do_without_and_what_it_lost_meanwhile_counts() {
    let world = World::new().await;
    let grants = [GrantType::AuthorizationCode];
    let must = |client: &mut tegata_oauth::ClientMetadata| {
        client.require_pushed_authorization_requests = true;
    };
    let web = world.client("web", &grants, must).await;
    let refused = world.provider.authorization_request(&asked(&[])).await.unwrap_err();
    let NotAuthorized::Redirect(back) = refused else { panic!("{refused:?}") };
    assert!(back.address().contains("error=invalid_request"), "{}", back.address());
    let uri = world.provider.push(&web, &asked(&[])).await.unwrap().request_uri;
    world
        .client("web", &grants, |client| {
            must(client);
            client.scope = "openid".into();
        })
        .await;
    let of = params(&[("client_id", "web"), ("request_uri", &uri)]);
    assert_eq!(world.provider.authorization_request(&of).await.unwrap_err(), EXPIRED);
}

#[tokio::test]
async fn a_sign_in_between_pushing_and_coming_is_not_one_after_the_request() {
    let world = World::new().await;
    let web = world.web().await;
    let uri = world.provider.push(&web, &asked(&[("prompt", "login")])).await.unwrap().request_uri;
    after(&world.clock, 5);
    let who = world.signed_in();
    after(&world.clock, 5);
    let of = params(&[("client_id", "web"), ("request_uri", &uri)]);
    let (request, client) = world.provider.authorization_request(&of).await.unwrap();
    let next = world.provider.next(&request, &client, Some(&who), tegata_oauth::Said::default());
    assert_eq!(next.await.unwrap(), tegata_oauth::Next::SignIn);
}

/// Ten thousand uses at once on two nodes, each with a handle of its own on one store.
async fn race(clock: Arc<ManualClock>, handles: [Arc<dyn Ephemeral>; 2]) {
    let [own, other] = handles;
    let world = World::on(clock, own).await;
    let web = world.web().await;
    let uri = world.provider.push(&web, &asked(&[])).await.unwrap().request_uri;
    let nodes = [world.provider.clone(), world.elsewhere(other)];
    let of = Arc::new(params(&[("client_id", "web"), ("request_uri", &uri)]));
    let mut tasks = JoinSet::new();
    for number in 0..10_000 {
        let (node, of) = (nodes[number % 2].clone(), Arc::clone(&of));
        tasks.spawn(async move { node.authorization_request(&of).await });
    }
    let all = tasks.join_all().await;
    assert_eq!(all.iter().filter(|used| used.is_ok()).count(), 1);
    for refused in all.into_iter().filter_map(Result::err) {
        assert_eq!(refused, EXPIRED);
    }
    answered(&world, &nodes).await;
}

/// Tabs of one browser and of another, and then a thousand answers.
async fn answered(world: &World, nodes: &[tegata_oauth::Provider; 2]) {
    let web = world.web().await;
    let uri = world.provider.push(&web, &asked(&[])).await.unwrap().request_uri;
    let of = Arc::new(params(&[("client_id", "web"), ("request_uri", &uri)]));
    let mut tasks = JoinSet::new();
    for number in 0..64 {
        let (node, of) = (nodes[number % 2].clone(), Arc::clone(&of));
        let browser = if number % 4 < 2 { "one" } else { "two" };
        tasks.spawn(async move { (browser, node.authorization_request_of(&of, browser).await) });
    }
    let all = tasks.join_all().await;
    let winner = all.iter().find(|(_, it)| it.is_ok()).map(|(browser, _)| *browser).unwrap();
    let mut had = Vec::new();
    for (browser, it) in all {
        if browser == winner {
            // However many tabs of it come at once.
            had.push(it.unwrap().0);
        } else {
            assert_eq!(it.unwrap_err(), EXPIRED);
        }
    }
    assert_eq!(had.len(), 32);
    let mut tasks = JoinSet::new();
    for number in 0..1_000 {
        let (node, request) = (nodes[number % 2].clone(), had[number % had.len()].clone());
        tasks.spawn(async move { node.use_up(&request).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|sent| *sent).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_uses_on_two_nodes_one_is_served_in_memory() {
    let clock = Arc::new(ManualClock::default());
    let memory: Arc<dyn Ephemeral> = Arc::new(MemoryEphemeral::new(clock.clone()));
    race(clock, [memory.clone(), memory]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_uses_on_two_nodes_one_is_served_on_sqlite() {
    let clock = Arc::new(ManualClock::default());
    let place = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn Ephemeral> {
        let config = SqliteConfig { waiting: 20_000, ..SqliteConfig::default() };
        let path = place.path().join("race.db");
        Arc::new(Sqlite::open(&path, &config, &[], clock.clone()).unwrap().ephemeral())
    };
    race(clock.clone(), [open(), open()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_uses_on_two_nodes_one_is_served_on_postgresql() {
    let clock = Arc::new(ManualClock::default());
    let database = PostgresServer::shared().database();
    let open = async || {
        let config = PostgresConfig { waiting: 20_000, patience: PATIENCE, ..Default::default() };
        let opened = Postgres::open(&database.url(), config, &[], clock.clone()).await;
        opened.unwrap().ephemeral()
    };
    let (own, other) = (Arc::new(open().await), Arc::new(open().await));
    race(clock.clone(), [own, other]).await;
}
