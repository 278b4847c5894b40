//! Rotations, ends, idle sessions and sign-ins, all at once.

use std::collections::BTreeSet;

use tegata_session::{Reason, Verdict};

use super::{
    nodes::Nodes,
    stores::Store,
    world::{given, refused},
};

/// How many requests there are at once.
const MANY: usize = 24;

/// What a browser loads at once at the mark: each answer may be the one that arrives.
async fn one_successor_is_given_however_many_ask(nodes: &Nodes) {
    let [node, _] = &nodes.both;
    let begun = node.sign_in("usr_1").await;
    let mut value = begun.cookie.expose().clone();
    for mark in 1..=4 {
        nodes.advance(300);
        let ask = async || -> BTreeSet<String> {
            let passages = nodes.crowd(MANY, |node, _| {
                let value = value.clone();
                async move { given(&node.present(&value).await.unwrap()) }
            });
            passages.await.into_iter().collect()
        };
        let next = ask().await;
        assert_eq!(next.len(), 1, "mark {mark}");
        assert_eq!(node.stored(&begun.session.id).await.generation, mark);
        // All of that was lost. The same is given again, at the very end of the time for it.
        nodes.advance(59);
        assert_eq!(ask().await, next);
        let next = next.into_iter().next().unwrap();
        // Some have it and some have not: those are served, or told to wait for their answer.
        nodes
            .crowd(MANY, |node, n| {
                let (old, next) = (value.clone(), next.clone());
                async move {
                    if n % 3 == 0 {
                        assert!(node.present(&next).await.unwrap().cookie.is_none());
                    } else {
                        match node.present(&old).await {
                            Ok(passage) => assert_eq!(given(&passage), next),
                            late => assert_eq!(refused(late), Verdict::Superseded),
                        }
                    }
                }
            })
            .await;
        let old = nodes.crowd(MANY, |node, _| {
            let value = value.clone();
            async move { node.verdict(&value).await }
        });
        assert!(old.await.iter().all(|verdict| *verdict == Verdict::Superseded));
        assert_eq!(node.stored(&begun.session.id).await.generation, mark);
        value = next;
    }
    assert_eq!(node.told("SESSION_ENDED").await, 0);
}

async fn an_end_beats_rotations_and_happens_once(nodes: &Nodes) {
    let [node, other] = &nodes.both;
    for round in 1..=6 {
        let begun = node.sign_in("usr_1").await;
        nodes.advance(300);
        let (value, sid) = (begun.cookie.expose().clone(), begun.session.id.clone());
        let results = nodes.crowd(MANY, |node, n| {
            let (value, sid) = (value.clone(), sid.clone());
            async move {
                // Two sign out, at either node; the others load pages and try again.
                if n / 2 == 5 {
                    let ended = node.sessions.end(&node.realm, &sid, &Reason::Logout, "usr_1");
                    let ended = ended.await.unwrap();
                    assert_eq!(node.verdict(&value).await, Verdict::Ended);
                    return (usize::from(ended), None);
                }
                let mut got = None;
                for _ in 0..3 {
                    match node.present(&value).await {
                        Ok(passage) => got = Some(given(&passage)),
                        late => assert_eq!(refused(late), Verdict::Ended),
                    }
                }
                (0, got)
            }
        });
        let results = results.await;
        assert_eq!(results.iter().map(|(ended, _)| ended).sum::<usize>(), 1, "round {round}");
        let values: BTreeSet<_> =
            results.into_iter().filter_map(|(_, got)| got).chain([value]).collect();
        assert!(values.len() <= 2);
        for value in &values {
            for node in [node, other] {
                assert_eq!(node.verdict(value).await, Verdict::Ended);
            }
        }
        assert!(node.stored(&sid).await.ended.is_some());
        assert_eq!(node.told("SESSION_ENDED").await, round);
    }
}

/// What either node does for it keeps it awake on both, and nothing keeps it beyond its end.
async fn a_use_on_one_node_counts_on_both_until_the_session_is_over(nodes: &Nodes) {
    let [node, other] = &nodes.both;
    let begun = node.sign_in("usr_1").await;
    let mut value = begun.cookie.expose().clone();
    let mut passed = 0;
    // Each of the nodes hears of it every 58 minutes, which is longer than it may sleep.
    for turn in 0_u64..49 {
        nodes.advance(1_740);
        passed += 1_740;
        let serving = if turn % 2 == 0 { other } else { node };
        let asked = nodes.crowd(4, |_, _| {
            let (serving, value) = (serving.clone(), value.clone());
            async move { given(&serving.present(&value).await.unwrap()) }
        });
        value = asked.await.pop().unwrap();
    }
    nodes.advance(86_399 - passed);
    let last = nodes.crowd(MANY, |node, _| {
        let value = value.clone();
        async move { given(&node.present(&value).await.unwrap()) }
    });
    let value = last.await.pop().unwrap();
    nodes.advance(1);
    assert_all(nodes, &value, Verdict::Expired).await;
    assert!(node.sessions.find(&node.realm, &begun.session.id).await.unwrap().is_none());
}

/// Whether it still is awake is asked at the same moment on both, while time passes.
async fn both_nodes_agree_whether_it_sleeps(nodes: &Nodes) {
    let [node, other] = &nodes.both;
    for round in 0..6 {
        let begun = node.sign_in(&format!("usr_{round}")).await;
        let value = begun.cookie.expose().clone();
        node.present(&value).await.unwrap();
        // More than half an hour ago; with the minute of use that may be unwritten, it is awake for 20 s more.
        nodes.advance(1_840);
        let clock = nodes.both.each_ref().map(|node| node.clock.clone());
        let served = nodes.crowd(9, |node, n| {
            let (value, clock) = (value.clone(), clock.clone());
            async move {
                if n == 4 {
                    // Too late for anybody, and soon enough for the value before to work as well.
                    clock[0].advance(std::time::Duration::from_secs(30));
                    return false;
                }
                match node.present(&value).await {
                    Ok(_) => true,
                    late => {
                        assert_eq!(refused(late), Verdict::Expired);
                        false
                    }
                }
            }
        });
        // Whoever was served in time has used it, so it is awake for everybody; else it is for nobody.
        let awake = served.await.into_iter().any(|it| it);
        let mut latest = value.clone();
        for node in [node, other] {
            let passage = node.present(&value).await;
            assert_eq!(passage.is_ok(), awake, "round {round}");
            latest = passage.map_or(latest, |passage| given(&passage));
        }
        nodes.advance(1_800 + 60);
        assert_all(nodes, &latest, Verdict::Expired).await;
        // The value before as well: that it was replaced no longer matters.
        assert_all(nodes, &value, Verdict::Expired).await;
    }
}

async fn sign_ins_at_once_leave_three(nodes: &Nodes) {
    let [node, other] = &nodes.both;
    let begun = nodes
        .crowd(12, |node, _| async move { node.sign_in("usr_1").await.cookie.expose().clone() });
    let begun = begun.await;
    let mut alive = 0;
    for value in &begun {
        let here = node.present(value).await.is_ok();
        assert_eq!(here, other.present(value).await.is_ok());
        alive += usize::from(here);
    }
    assert_eq!(alive, 3);
    assert_eq!(node.told("SESSION_CREATED").await, 12);
    assert_eq!(node.told("SESSION_ENDED").await, 9);
}

async fn assert_all(nodes: &Nodes, value: &str, expected: Verdict) {
    let value = value.to_owned();
    let verdicts = nodes.crowd(8, |node, _| {
        let value = value.clone();
        async move { node.verdict(&value).await }
    });
    assert!(verdicts.await.iter().all(|verdict| *verdict == expected));
}

/// One test for each of them, on nodes of its own.
macro_rules! clauses {
    ($($name:ident: $store:ident)*) => {$(
        mod $name {
            use super::*;

            clauses!($store,
                one_successor_is_given_however_many_ask
                an_end_beats_rotations_and_happens_once
                a_use_on_one_node_counts_on_both_until_the_session_is_over
                both_nodes_agree_whether_it_sleeps
                sign_ins_at_once_leave_three
            );
        }
    )*};
    ($store:ident, $($clause:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $clause() {
            super::$clause(&Nodes::on(Store::$store).await).await;
        }
    )*};
}

clauses! {
    on_sqlite: Sqlite
    on_postgresql: Postgresql
    on_postgresql_with_redis: Redis
    on_postgresql_with_redis_sentinels: RedisSentinels
    on_postgresql_with_a_redis_cluster: RedisCluster
}
