//! Pages that load while the cookie's value changes: many requests at once, answers that overtake each
//! other, and answers that get lost.

use std::{collections::BTreeSet, sync::Arc};

use http::{Method, StatusCode};
use tegata_core::{Entropy as _, SeededEntropy};
use tokio::task::JoinSet;

use super::{
    bench::Bench,
    browser::{Answer, Browser},
};

const LOADS: usize = 1000;
const REQUESTS: usize = 20;
/// How many requests a browser has under way at a time.
const LANES: usize = 6;
/// A session lives for a day, so that one does not see all of them.
const LOADS_OF_A_SESSION: usize = 200;
const COOKIE: &str = "session_id";

/// What happens by chance.
struct Chance(Arc<SeededEntropy>);

impl Chance {
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        usize::try_from(u32::from_le_bytes(bytes)).unwrap() % bound
    }
}

async fn who(browser: &mut Browser) -> Answer {
    browser.call(Method::GET, "/api/auth/session", None, None).await
}

/// What became of pages.
#[derive(Default)]
struct Tally {
    /// How often the value changed.
    changes: usize,
    /// How many answers were lost that had a cookie.
    lost: usize,
    /// How many requests came so late that the browser had used a newer value meanwhile.
    late: usize,
    /// Every value that anybody was given since the last change.
    given: BTreeSet<String>,
}

impl Tally {
    /// A page with its requests: each is sent with what the jar holds at that moment, answers come in any order,
    /// and go into the jar when they come, unless they are lost.
    async fn load(&mut self, bench: &Bench, browser: &mut Browser, chance: &Chance) {
        let (mut left, mut running, mut coming) = (REQUESTS, JoinSet::new(), Vec::new());
        loop {
            let under_way = running.len() + coming.len();
            if left > 0 && under_way < LANES && (under_way == 0 || chance.below(3) > 0) {
                left -= 1;
                let mut asking = browser.clone();
                running.spawn(async move {
                    let sent = asking.cookie(COOKIE).unwrap().to_owned();
                    (sent, who(&mut asking).await)
                });
                continue;
            }
            while let Some(joined) = running.try_join_next() {
                coming.push(joined.unwrap());
            }
            if coming.is_empty() {
                let Some(joined) = running.join_next().await else { return };
                coming.push(joined.unwrap());
            }
            let (sent, answer) = coming.swap_remove(chance.below(coming.len()));
            self.note(&answer);
            if answer.status == StatusCode::UNAUTHORIZED {
                // It was under way while another one, with a newer value, overtook it.
                assert_ne!(browser.cookie(COOKIE), Some(sent.as_str()), "{}", answer.body);
                assert!(given(&answer).is_none(), "whoever is late loses no cookie");
                self.late += 1;
                let again = who(browser).await;
                self.note(&again);
                assert_eq!(again.status, StatusCode::OK, "{}", again.body);
            } else {
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
                // Of the last ones, all arrive: a page of which nothing does is loaded again.
                if left > 0 && chance.below(2) == 0 {
                    self.lost += usize::from(given(&answer).is_some());
                } else {
                    browser.take(&answer);
                }
            }
            bench.advance(u64::from(chance.below(6) == 0));
        }
    }

    fn note(&mut self, answer: &Answer) {
        self.given.extend(given(answer));
    }
}

/// The value that an answer gives the session cookie; an empty one takes it away.
fn given(answer: &Answer) -> Option<String> {
    let mut all = answer.headers.get_all("set-cookie").iter().map(|set| set.to_str().unwrap());
    let own = all.find_map(|set| set.strip_prefix(COOKIE)?.strip_prefix('='))?;
    Some(own.split(';').next().unwrap().to_owned())
}

/// Whoever loads pages while the value changes stays signed in, and no two values work for longer than a
/// minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pages_of_twenty_requests_around_the_change_sign_nobody_out() {
    let chance = Chance(Arc::new(SeededEntropy::new(300)));
    let mut tally = Tally::default();
    for _ in 0..LOADS / LOADS_OF_A_SESSION {
        let bench = Bench::new().await;
        let (mut browser, _) = Browser::signed_in(&bench).await;
        for _ in 0..LOADS_OF_A_SESSION {
            // Up to just before the change, so that the page loads across it.
            bench.advance(236 + u64::try_from(chance.below(4)).unwrap());
            let before = browser.clone();
            tally.load(&bench, &mut browser, &chance).await;
            bench.advance(61);
            if before.cookie(COOKIE) != browser.cookie(COOKIE) {
                tally.changes += 1;
                let late = who(&mut before.clone()).await;
                assert_eq!(late.status, StatusCode::UNAUTHORIZED, "the old value works");
                let given = std::mem::take(&mut tally.given);
                let only: Vec<_> = given.iter().map(String::as_str).collect();
                assert_eq!(only, [browser.cookie(COOKIE).unwrap()], "one successor is given");
            }
            assert_eq!(who(&mut browser).await.status, StatusCode::OK);
        }
    }
    let Tally { changes, lost, late, .. } = tally;
    assert!(changes > LOADS / 2 && lost > LOADS, "{changes} changes, {lost} answers lost");
    println!("{changes} changes, {lost} answers lost, {late} requests too late");
}

/// An answer with the next value was lost, and the browser was left alone for long: its cookie is of no more use.
#[tokio::test]
async fn a_replaced_value_is_taken_from_the_browser_once_its_session_has_slept_too_long() {
    let bench = Bench::new().await;
    let (mut browser, _) = Browser::signed_in(&bench).await;
    let mut before = browser.clone();
    bench.advance(300);
    assert_eq!(who(&mut browser).await.status, StatusCode::OK);
    assert_ne!(before.cookie(COOKIE), browser.cookie(COOKIE));
    bench.advance(61);
    let refused = |why: &str| {
        let labels = format!("{{service=\"provider\",error_type=\"{why}\"}}");
        bench.counted(&format!("session_errors_total{labels}"))
    };
    // While the session goes on, the value may be of use once more: it was sent before the next one came.
    assert_eq!(who(&mut before).await.status, StatusCode::UNAUTHORIZED);
    assert!(before.cookie(COOKIE).is_some());
    assert_eq!((refused("superseded"), refused("expired")), (1, 0));
    bench.advance(1_800 + 60 - 61);
    let late = who(&mut before).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
    assert_eq!(late.json()["error"], "no_session");
    assert!(before.cookie(COOKIE).is_none());
    assert_eq!((refused("superseded"), refused("expired")), (1, 1));
    // And so is the value that is not replaced.
    assert_eq!(who(&mut browser).await.status, StatusCode::UNAUTHORIZED);
    assert!(browser.cookie(COOKIE).is_none());
}
