use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tegata_core::{Log, Secret, UserId, port::Page};
use tegata_oauth::{ClientMetadata, client::GrantType};
use tegata_token::{
    Claims, Entry, Scope,
    families::{Beginning, Issue, Refresh},
    family::{Binding, Family, Granted},
    narrowed::Narrowed,
    usage::Origin,
};

use super::*;
use crate::{background::every, compose, operate};

fn order() -> Order {
    super::order("stolen".into(), "operator").unwrap()
}

async fn taken_back(composed: &Composed, what: What) -> Value {
    revoke(composed, what, &order(), &Tally::default()).await.unwrap().0
}

#[tokio::test]
async fn an_unknown_name_is_an_error_and_what_was_issued_under_it_is_taken_back() {
    let place = tempfile::tempdir().unwrap();
    let composed = compose::for_tests(place.path()).await;
    let claims = Claims {
        sub: "removed".into(),
        client_id: Some("removed".into()),
        iat: composed.node.now().secs(),
        ..Claims::default()
    };
    let is_refused =
        || composed.view.realm(&composed.realm).check_claims(&claims, None, "").is_some();
    assert!(!is_refused());
    let (removed, tally) = (What::Client("removed".into()), Tally::default());
    let refused = revoke(&composed, removed, &order(), &tally).await.unwrap_err();
    assert!(refused.why.contains("there is no client or service `removed`"));
    assert!(is_refused());
}

async fn add_client(composed: &Composed, id: &str, grant_types: BTreeSet<GrantType>) {
    let metadata = ClientMetadata {
        client_id: id.into(),
        grant_types: Some(grant_types),
        redirect_uris: vec!["https://web.example/callback".into()],
        scope: "openid orders.read".into(),
        ..ClientMetadata::default()
    };
    let secret = Some("a secret of this client".to_owned());
    let add = operate::Order::ClientAdd { metadata: Box::new(metadata), secret };
    operate::perform(composed, "operator", add, &Tally::default()).await.unwrap();
}

/// Sign-ins, begun together.
async fn signed_in(composed: &Composed, user: &UserId, many: usize) -> Vec<Issue> {
    // What begins in the second in which everything was taken back counts as of the next.
    let earliest = composed.view.realm(&composed.realm).earliest_issue(user.as_str(), None);
    let authorized = composed.node.now().max(Timestamp::from_secs(earliest));
    let mut batch = Batch::new(composed.realm.clone());
    let mut issues = Vec::with_capacity(many);
    for _ in 0..many {
        let beginning = Beginning {
            client: "web".parse().unwrap(),
            user: user.clone(),
            session: None,
            began_in: None,
            ends: None,
            grant: Granted {
                scope: Scope::new("openid orders.read").unwrap(),
                audience: vec!["https://api.example".into()],
                ..Granted::default()
            },
            binding: Binding::Client,
            authority: 1,
            authorized,
            as_of: None,
            kid: None,
        };
        let (issue, change) = composed.families.begin(&composed.realm, beginning).await.unwrap();
        batch = batch.with(change);
        issues.push(issue);
    }
    composed.records.commit(batch).await.unwrap();
    issues
}

fn is_listed(composed: &Composed, place: StatusIndex) -> bool {
    composed.view.realm(&composed.realm).is_listed(place)
}

#[tokio::test]
async fn a_token_that_is_named_is_set_in_its_status_list_where_its_place_is_known() {
    let place = tempfile::tempdir().unwrap();
    let composed = compose::for_tests(place.path()).await;
    let user = UserId::new("usr_1").unwrap();
    let issues = signed_in(&composed, &user, 2).await;
    let [meant, other] = issues.as_slice() else { panic!() };
    let jti = |jti: &TokenId| What::Jti(jti.as_str().to_owned());
    let told = taken_back(&composed, jti(&meant.family.access.jti)).await;
    assert_eq!(told.get("note"), None, "{told}");
    assert!(is_listed(&composed, meant.family.access.status));
    assert!(!is_listed(&composed, other.family.access.status));
    // What is said to be of a family that does not have it sets nothing.
    let stranger = TokenId::of_family(&other.family.id, composed.node.entropy());
    let told = taken_back(&composed, jti(&stranger)).await;
    assert!(told["note"].as_str().unwrap().contains("by its name only"), "{told}");
    assert!(!is_listed(&composed, other.family.access.status));
    // Of what has no family, the nodes know.
    let own = StatusIndex { index: 7, ..other.family.access.status };
    let at = composed.node.now();
    composed.usage.issued("1.own", Origin { at, place: Some(own), ..Origin::default() });
    composed.usage.issued("1.made", Origin { at, of: Some("1.own".into()), ..Origin::default() });
    let told = taken_back(&composed, What::Jti("1.made".into())).await;
    assert!(told["note"].as_str().unwrap().contains("made of"), "{told}");
    assert!(!is_listed(&composed, own), "what it was made of was not to be taken back");
    let told = taken_back(&composed, What::Jti("1.own".into())).await;
    assert!(told.get("note").is_none() && is_listed(&composed, own), "{told}");
    // Also by name: a place that was wrong keeps nothing alive.
    let claims = Claims { jti: "1.own".into(), ..Claims::default() };
    let view = composed.view.realm(&composed.realm);
    assert!(view.check_claims(&claims, None, "").is_some());
}

#[tokio::test]
async fn what_a_client_has_in_its_own_name_is_set_in_status_lists_with_the_rest() {
    let place = tempfile::tempdir().unwrap();
    let composed = compose::for_tests(place.path()).await;
    add_client(&composed, "robot", [GrantType::ClientCredentials].into()).await;
    let user = UserId::new("usr_1").unwrap();
    let list = signed_in(&composed, &user, 1).await.remove(0).family.access.status;
    let at = |index| StatusIndex { index, ..list };
    let note = |jti: &str, client: &str, place| {
        let origin =
            Origin { at: composed.node.now(), client: client.into(), place, ..Origin::default() };
        composed.usage.issued(jti, origin);
    };
    for index in 0..250 {
        note(&format!("1.own{index}"), "robot", Some(at(index)));
    }
    note("1.made", "robot", None);
    note("1.other", "another", Some(at(999)));
    let robot = || What::Client("robot".into());
    let told = taken_back(&composed, robot()).await;
    assert_eq!(told["proof"]["tokens"], 250, "{told}");
    assert!(told["note"].as_str().unwrap().contains("1 tokens"), "{told}");
    assert!((0..250).all(|index| is_listed(&composed, at(index))));
    assert!(!is_listed(&composed, at(999)), "another's was set");
    // What it gets from then on counts, until it is taken back.
    note("1.fresh", "robot", Some(at(300)));
    assert!(!is_listed(&composed, at(300)));
    let told = taken_back(&composed, robot()).await;
    assert_eq!(told["proof"]["tokens"], 1, "{told}");
    assert!(is_listed(&composed, at(300)));
    // A person has none of these.
    let (holder, tally) = (Holder::User(user), Tally::default());
    let proof = everything_of(&composed, &holder, &order(), &tally).await.unwrap();
    assert_eq!(proof, json!({"sessions": 0, "families": 1}));
}

/// What is kept of a sign-in to look at it again.
struct Kept {
    family: Family,
    refresh_token: Secret<String>,
}

/// An installation of its own, in which maria has signed in so often.
async fn with_sign_ins(place: &Path, many: usize) -> Vec<Kept> {
    let composed = compose::for_tests(place).await;
    let maria = operate::DeclaredUser { username: "maria".into(), ..Default::default() };
    let add = operate::Order::UserAdd(Box::new(maria));
    operate::perform(&composed, "operator", add, &Tally::default()).await.unwrap();
    add_client(&composed, "web", [GrantType::AuthorizationCode, GrantType::RefreshToken].into())
        .await;
    let maria = users::find(&composed, "maria").await.unwrap().id;
    let mut kept = Vec::with_capacity(many);
    while kept.len() < many {
        let issues = signed_in(&composed, &maria, 500.min(many - kept.len())).await;
        kept.extend(
            issues
                .into_iter()
                .map(|issue| Kept { family: issue.family, refresh_token: issue.refresh_token }),
        );
    }
    assert!(kept.iter().all(|it| !is_refused(&composed, it)));
    kept
}

/// The installation as a process finds it that starts.
async fn found(place: &Path) -> Composed {
    let composed = compose::for_tests(place).await;
    composed.view.catch_up(composed.records.as_ref()).await.unwrap();
    composed
}

fn is_refused(composed: &Composed, kept: &Kept) -> bool {
    let (family, access) = (&kept.family, &kept.family.access);
    let claims = Claims {
        jti: access.jti.as_str().to_owned(),
        sub: family.user.as_str().to_owned(),
        client_id: Some(family.client.as_str().to_owned()),
        fid: Some(family.id.as_str().to_owned()),
        iat: access.iat,
        exp: access.exp,
        ..Claims::default()
    };
    let view = composed.view.realm(&composed.realm);
    view.check_claims(&claims, Some(access.status), "").is_some()
}

/// Whether the refresh token of a sign-in gets anything.
async fn refreshes(composed: &Composed, kept: &Kept) -> bool {
    let asked = Refresh {
        token: kept.refresh_token.expose(),
        client: &kept.family.client,
        binding: &Binding::Client,
        attempt: None,
        narrowed: &Narrowed::default(),
        rotates: true,
        as_of: None,
    };
    let client = composed.clients.load(&composed.realm, &kept.family.client).await.unwrap();
    composed.provider.refreshed(&client.unwrap().value, &asked).await.is_ok()
}

/// How many of her sign-ins have ended by their records.
async fn ended(composed: &Composed) -> usize {
    let holder = Holder::User(users::find(composed, "maria").await.unwrap().id);
    let (mut page, mut count) = (Page { after: None, limit: 1000 }, 0);
    loop {
        let some =
            composed.families.page(&composed.realm, Some(&holder), page.clone()).await.unwrap();
        let Some(last) = some.last() else { return count };
        page.after = Some(last.id.as_str().to_owned());
        count += some.iter().filter(|family| family.ended.is_some()).count();
    }
}

/// How often the log takes back everything of a person.
async fn orders(composed: &Composed) -> usize {
    let (mut after, mut count) = (0, 0);
    loop {
        let pull = composed.records.pull(Log::Revocations, after, 1000).await.unwrap();
        let Some(last) = pull.entries.last() else { return count };
        after = last.position;
        let read = pull.entries.iter().map(|entry| Entry::from_bytes(&entry.body).unwrap());
        count += read.filter(|entry| matches!(entry.target, Target::Subject { .. })).count();
    }
}

/// Has another process take back everything of maria, and kills it when it has ended so many sign-ins.
fn begun_and_killed(place: &Path, enough: u64) {
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture"])
        .arg("operate::revoke::tests::the_process_that_is_killed")
        .env(PLACE, place)
        .stdout(Stdio::piped())
        .spawn()
        .map(Killed)
        .unwrap();
    let lines = BufReader::new(other.0.stdout.take().unwrap()).lines();
    let counted = |line: String| line.strip_prefix("taken back ")?.parse::<u64>().ok();
    let mut counted = lines.map_while(Result::ok).filter_map(counted);
    assert!(counted.any(|count| count >= enough), "it ended before");
}

/// A process that is killed when nobody wants it any more.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // SIGKILL: nothing of it is finished.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

const PLACE: &str = "TEGATA_TAKEN_BACK_AT";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is the process that another test kills"]
async fn the_process_that_is_killed() {
    let place = std::env::var_os(PLACE).expect("another test starts this");
    let composed = found(Path::new(&place)).await;
    let tally = Tally::watched();
    let (order, maria) = (order(), What::User("maria".into()));
    let work = revoke(&composed, maria, &order, &tally);
    let tell = async {
        let mut ticks = every(Duration::from_millis(2));
        loop {
            ticks.tick().await;
            println!("\ntaken back {}", tally.read().0);
        }
    };
    tokio::select! {
        done = work => drop(done.unwrap()),
        () = tell => {}
    }
}

/// Everything of somebody with `many` sign-ins is taken back by one order, which is interrupted.
async fn is_one_order(many: usize) {
    let place = tempfile::tempdir().unwrap();
    let kept = with_sign_ins(place.path(), many).await;
    begun_and_killed(place.path(), 1);

    let composed = found(place.path()).await;
    let before = ended(&composed).await;
    assert!((1..many).contains(&before), "it was not killed in between: {before} of {many}");
    // Nothing counts any more, whether its turn had come or not, and one entry says so.
    assert_eq!(orders(&composed).await, 1);
    assert!(kept.iter().all(|it| is_refused(&composed, it)));
    for it in kept.iter().step_by(many / 50) {
        assert!(!refreshes(&composed, it).await, "{} goes on", it.family.id);
    }
    // Whoever tried has ended theirs by it.
    let killed_at = before;
    let before = ended(&composed).await;
    let maria = users::find(&composed, "maria").await.unwrap().id;

    // Ordered again, it is finished: no more than what was left, and each with its place.
    let (tally, began) = (Tally::watched(), composed.node.since_boot());
    let again = revoke(&composed, What::User("maria".into()), &order(), &tally).await.unwrap().0;
    let took = composed.node.elapsed(began);
    assert_eq!(again["proof"]["families"], many - before, "{again}");
    assert_eq!(tally.read().0, u64::try_from(many - before).unwrap());
    assert_eq!(ended(&composed).await, many);
    assert!(kept.iter().all(|it| is_listed(&composed, it.family.access.status)));
    assert_eq!(orders(&composed).await, 2);
    println!("{killed_at} of {many} sign-ins ended before it was killed, the rest in {took:?}");
    let nothing = taken_back(&composed, What::User("maria".into())).await;
    assert_eq!(nothing["proof"]["families"], 0);

    // A sign-in of afterwards is none of those.
    let fresh = signed_in(&composed, &maria, 1).await.remove(0);
    let fresh = Kept { family: fresh.family, refresh_token: fresh.refresh_token };
    assert!(!is_refused(&composed, &fresh));
    assert!(refreshes(&composed, &fresh).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_sign_ins_are_taken_back_by_one_order_that_is_finished_when_it_is_repeated() {
    is_one_order(5_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "so many take long; `cargo xtask bench revocation --only C3` measures them, on PostgreSQL"]
async fn a_hundred_thousand_sign_ins_are_taken_back_by_one_order() {
    is_one_order(100_000).await;
}
