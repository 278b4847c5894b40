//! Pages that load while the cookie's value changes: many requests at once, answers that overtake each
//! other, and answers that get lost.

use std::sync::Arc;

use http::{Method, StatusCode};
use tegata_core::{Entropy as _, SeededEntropy};
use tokio::task::JoinSet;

use super::{
    bench::Bench,
    browser::{Answer, Browser},
};

const LOADS: usize = 1000;
const REQUESTS: usize = 20;
/// A session lives for a day, so that one does not see all of them.
const LOADS_OF_A_SESSION: usize = 200;
const COOKIE: &str = "session_id";

/// What happens by chance, the same at each run.
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

/// A page with its requests, a few at a time, all of one jar. What of the answers is not lost comes in any
/// order. Answers how many were lost that had a cookie.
async fn load(bench: &Bench, browser: &mut Browser, chance: &Chance) -> usize {
    let (mut left, mut lost) = (REQUESTS, 0);
    while left > 0 {
        let together = (1 + chance.below(8)).min(left);
        left -= together;
        let mut running = JoinSet::new();
        for _ in 0..together {
            let mut asking = browser.clone();
            running.spawn(async move {
                let answer = who(&mut asking).await;
                (asking, answer)
            });
        }
        let mut answers = Vec::new();
        while let Some(joined) = running.join_next().await {
            let at = chance.below(answers.len() + 1);
            answers.insert(at, joined.unwrap());
        }
        for (asked, answer) in answers {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            // Of the last ones, one at least arrives: a page of which nothing does is loaded again.
            if left > 0 && chance.below(2) == 0 {
                lost += usize::from(answer.headers.contains_key("set-cookie"));
            } else {
                browser.jar = asked.jar;
            }
        }
        bench.advance(u64::try_from(chance.below(2)).unwrap());
    }
    lost
}

/// Whoever loads pages while the value changes stays signed in, and no two values work for longer than a
/// minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pages_of_twenty_requests_around_the_change_sign_nobody_out() {
    let chance = Chance(Arc::new(SeededEntropy::new(300)));
    let (mut changes, mut lost) = (0, 0);
    for _ in 0..LOADS / LOADS_OF_A_SESSION {
        let bench = Bench::new().await;
        let (mut browser, _) = Browser::signed_in(&bench).await;
        for _ in 0..LOADS_OF_A_SESSION {
            // Up to just before the change, so that the page loads across it.
            bench.advance(236 + u64::try_from(chance.below(4)).unwrap());
            let before = browser.clone();
            lost += load(&bench, &mut browser, &chance).await;
            bench.advance(61);
            if before.cookie(COOKIE) != browser.cookie(COOKIE) {
                changes += 1;
                let late = who(&mut before.clone()).await;
                assert_eq!(late.status, StatusCode::UNAUTHORIZED, "the old value works");
            }
            assert_eq!(who(&mut browser).await.status, StatusCode::OK);
        }
    }
    assert!(changes > LOADS / 2 && lost > LOADS, "{changes} changes, {lost} answers lost");
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
