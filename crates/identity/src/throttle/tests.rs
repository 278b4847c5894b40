use futures_util::future::join_all;

use super::*;
use crate::testing::{Bed, address};

fn retry_after(answer: Result<Attempt, TooMany>) -> u64 {
    match answer {
        Err(TooMany::Throttled { retry_after }) => retry_after.as_secs(),
        other => panic!("not throttled: {other:?}"),
    }
}

async fn fail(throttle: &Throttle, bed: &Bed, account: &str, from: &str) {
    let attempt = throttle.admit(&bed.realm, account, address(from)).await.unwrap();
    drop(attempt);
}

#[tokio::test]
async fn five_attempts_then_pauses_that_grow() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    let home = address("192.0.2.1");
    for pause in [60, 120, 240] {
        for _ in 0..5 {
            fail(&throttle, &bed, "alice", "192.0.2.1").await;
        }
        assert_eq!(retry_after(throttle.admit(&bed.realm, "alice", home).await), pause);
        bed.clock.advance(Duration::from_secs(pause - 1));
        assert_eq!(retry_after(throttle.admit(&bed.realm, "alice", home).await), 1);
        bed.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_attempts_at_once_do_not_pass_on_one_count() {
    let bed = Bed::new();
    let tasks = (0..64).map(|_| {
        let (throttle, realm) = (bed.throttle(), bed.realm.clone());
        tokio::spawn(async move { throttle.admit(&realm, "alice", address("192.0.2.1")).await })
    });
    let answers: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 5);
}

#[tokio::test]
async fn success_starts_the_count_anew() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    for _ in 0..10 {
        for _ in 0..4 {
            fail(&throttle, &bed, "alice", "192.0.2.1").await;
        }
        let attempt = throttle.admit(&bed.realm, "alice", address("192.0.2.1")).await.unwrap();
        throttle.succeeded(&bed.realm, attempt).await.unwrap();
    }
}

#[tokio::test]
async fn an_attempt_that_was_not_made_does_not_count() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    for _ in 0..500 {
        let attempt = throttle.admit(&bed.realm, "alice", address("192.0.2.1")).await.unwrap();
        throttle.not_made(&bed.realm, attempt).await.unwrap();
    }
}

/// Somebody who guesses from everywhere cannot keep the person out: not from where they signed in
/// before, and not even from the same carrier's network as the attacker.
#[tokio::test]
async fn nobody_is_locked_out_of_where_they_have_signed_in() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    let home = address("192.0.2.1");
    let attempt = throttle.admit(&bed.realm, "alice", home).await.unwrap();
    throttle.succeeded(&bed.realm, attempt).await.unwrap();

    // A botnet uses up the account's count.
    for n in 0..25 {
        for _ in 0..4 {
            fail(&throttle, &bed, "alice", &format!("10.0.{n}.1")).await;
        }
    }
    let elsewhere = address("198.51.100.1");
    assert_eq!(retry_after(throttle.admit(&bed.realm, "alice", elsewhere).await), 900);
    // And somebody in the same network uses up the network's.
    for n in 0..15 {
        for _ in 0..4 {
            fail(&throttle, &bed, &format!("user-{n}"), "192.0.2.200").await;
        }
    }
    assert_eq!(retry_after(throttle.admit(&bed.realm, "bob", home).await), 1);

    let attempt = throttle.admit(&bed.realm, "alice", home).await.unwrap();
    throttle.succeeded(&bed.realm, attempt).await.unwrap();
}

#[tokio::test]
async fn a_network_is_forgotten_after_90_days() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    let home = address("192.0.2.1");
    let attempt = throttle.admit(&bed.realm, "alice", home).await.unwrap();
    throttle.succeeded(&bed.realm, attempt).await.unwrap();
    bed.clock.advance(Duration::from_secs(90 * 86_400));
    for n in 0..25 {
        for _ in 0..4 {
            fail(&throttle, &bed, "alice", &format!("10.0.{n}.1")).await;
        }
    }
    assert_eq!(retry_after(throttle.admit(&bed.realm, "alice", home).await), 900);
}

#[tokio::test]
async fn one_network_cannot_try_many_accounts() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    for n in 0..60 {
        fail(&throttle, &bed, &format!("user-{n}"), "2001:db8::1").await;
    }
    let same = address("2001:db8::ffff:1");
    assert_eq!(retry_after(throttle.admit(&bed.realm, "user-60", same).await), 1);
    assert!(throttle.admit(&bed.realm, "user-60", address("2001:db8:0:1::1")).await.is_ok());
    bed.clock.advance(Duration::from_secs(1));
    assert!(throttle.admit(&bed.realm, "user-60", same).await.is_ok());
}

#[tokio::test]
async fn the_owner_of_many_ipv6_networks_cannot_try_ever_more_accounts() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    for n in 0..16 * 60 {
        fail(&throttle, &bed, &format!("user-{n}"), &format!("2001:db8:1:{:x}::1", n % 64)).await;
    }
    let fresh = address("2001:db8:1:ffff::1");
    assert_eq!(retry_after(throttle.admit(&bed.realm, "alice", fresh).await), 1);
    assert!(throttle.admit(&bed.realm, "alice", address("2001:db8:2::1")).await.is_ok());
}

#[tokio::test]
async fn knocking_at_a_closed_door_writes_nothing() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    let home = address("192.0.2.1");
    let revisions = async || {
        let mut revisions = Vec::new();
        for key in ["n|192.0.2.0/24", "a|alice", "p|alice|192.0.2.0/24"] {
            let held = bed.ephemeral.get(&bed.realm, &ATTEMPTS, key).await.unwrap();
            revisions.push(held.map(|held| held.revision));
        }
        revisions
    };
    for _ in 0..5 {
        fail(&throttle, &bed, "alice", "192.0.2.1").await;
    }
    let before = revisions().await;
    assert!(before.iter().all(Option::is_some));
    for _ in 0..100 {
        assert!(throttle.admit(&bed.realm, "alice", home).await.is_err());
    }
    assert_eq!(revisions().await, before);
    // Nor where it is the account that many try at once.
    for n in 0..20 {
        for _ in 0..5 {
            fail(&throttle, &bed, "bob", &format!("10.0.{n}.1")).await;
        }
    }
    let network = async || {
        let held = bed.ephemeral.get(&bed.realm, &ATTEMPTS, "n|10.1.0.0/24").await.unwrap();
        held.map(|held| held.revision)
    };
    assert!(throttle.admit(&bed.realm, "bob", address("10.1.0.1")).await.is_err());
    assert_eq!(network().await, None);
}

#[tokio::test]
async fn knocking_at_a_closed_door_costs_the_neighbours_nothing() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    let home = address("192.0.2.1");
    for _ in 0..5 {
        fail(&throttle, &bed, "alice", "192.0.2.1").await;
    }
    for _ in 0..1000 {
        assert_eq!(retry_after(throttle.admit(&bed.realm, "alice", home).await), 60);
    }
    assert!(throttle.admit(&bed.realm, "bob", home).await.is_ok());
    assert!(throttle.admit(&bed.realm, "alice", address("198.51.100.1")).await.is_ok());
}

#[tokio::test]
async fn realms_are_counted_apart() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    for _ in 0..5 {
        fail(&throttle, &bed, "alice", "192.0.2.1").await;
    }
    let other = Realm::new("acme").unwrap();
    assert!(throttle.admit(&other, "alice", address("192.0.2.1")).await.is_ok());
}

#[tokio::test]
async fn the_machine_itself_is_exempt_only_when_it_is_said() {
    let bed = Bed::new();
    let config = Config { danger_exempt_loopback: true, ..Config::default() };
    let exempt = Throttle::new(bed.node.clone(), bed.ephemeral.clone(), config);
    for _ in 0..100 {
        fail(&exempt, &bed, "alice", "127.0.0.1").await;
    }
    for _ in 0..5 {
        fail(&exempt, &bed, "alice", "192.0.2.1").await;
        fail(&bed.throttle(), &bed, "alice", "127.0.0.1").await;
    }
    assert!(exempt.admit(&bed.realm, "alice", address("192.0.2.1")).await.is_err());
    assert!(bed.throttle().admit(&bed.realm, "alice", address("127.0.0.1")).await.is_err());
}

/// Where a person has signed in, a hundred codes in a row are looked at that are wrong.
#[tokio::test]
async fn wrong_codes_in_a_row_come_to_an_end_where_the_person_signs_in() {
    let bed = Bed::new();
    let throttle = bed.throttle();
    let user = UserId::new("usr_1").unwrap();
    let (home, work) = (address("192.0.2.1"), address("198.51.100.1"));
    let try_one = async |from| throttle.admit_code(&bed.realm, &user, from).await;
    for from in [home, work] {
        throttle.succeeded(&bed.realm, try_one(from).await.unwrap()).await.unwrap();
    }
    // Whoever shows a right one in between begins anew.
    for failures in [99, 100] {
        for n in 0..failures {
            drop(try_one(if n % 2 == 0 { home } else { work }).await.unwrap());
            bed.clock.advance(Duration::from_secs(900));
        }
        if failures < 100 {
            throttle.succeeded(&bed.realm, try_one(home).await.unwrap()).await.unwrap();
        }
    }
    for from in [home, work] {
        assert_eq!(retry_after(try_one(from).await), 30 * 86_400 - 100 * 900, "{from}");
    }
    // It is of nobody else, not of passwords, and ends when somebody says so.
    let other = UserId::new("usr_2").unwrap();
    assert!(throttle.admit_code(&bed.realm, &other, home).await.is_ok());
    assert!(throttle.admit(&bed.realm, "usr_1", home).await.is_ok());
    throttle.forget_codes(&bed.realm, &user).await.unwrap();
    assert!(try_one(home).await.is_ok());
}
