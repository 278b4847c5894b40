//! Tokens of another issuer while no Redis answers: the durable store does.

use std::{path::Path, time::Duration};

use tegata_engines::{Dependencies, EchoServer, EventsKind, Redis, RedisKind};
use tegata_faults::{
    foreign::{self, answered_by, counts_everywhere, status, take_back},
    http::Client,
    stage::{self, Access, Stage},
    time::until,
};

use super::PROGRAM;

/// How many are taken back, and how many are not.
const MANY: usize = 20;

/// How long a machine that others use may take for what has a limit of 15 ms in it: 5 for Redis and 10 for the
/// durable store.
const BUSY: Duration = Duration::from_secs(2);

#[test]
fn while_all_redis_is_silent_the_durable_store_says_what_was_taken_back_of_another_issuer() {
    let (program, echo) = (Path::new(PROGRAM), EchoServer::start());
    let issuer = foreign::issuer(program, echo.port()).unwrap();
    let dependencies = Dependencies { redis: RedisKind::Cluster, events: EventsKind::Nats };
    let plan = foreign::plan(program, &issuer, (2, dependencies), 10_000);
    let stage = Stage::set(&plan).unwrap();
    let mut robot = Client::new(issuer.ports().public);
    let mut issued =
        || -> Vec<Access> { (0..MANY).map(|_| stage::issued(&mut robot).unwrap()).collect() };
    let (bad, good) = (issued(), issued());
    counts_everywhere(&stage, &good[0]).unwrap();
    bad.iter().for_each(|access| take_back(&stage, access).unwrap());
    // The other node, which was not told by the order, learns of the last.
    let mut gateway = stage.gateway(1).waiting(Duration::from_secs(10));
    let learnt = || status(&mut gateway, &bad[MANY - 1]) == Some(401);
    assert!(until(Duration::from_secs(60), learnt).is_some());

    let Some(Redis::Cluster(redis)) = stage.cluster().redis() else { panic!("no cluster") };
    redis.nodes().iter().for_each(|node| node.process().hold());
    let (before, mut late) = (answered_by(&stage, 1, "durable"), 0);
    for (bad, good) in bad.iter().zip(&good).take(MANY - 1) {
        // Nothing was answered of these before. A durable store that is late on a busy machine leaves it open (503).
        let asked = until(Duration::from_secs(60), || match status(&mut gateway, bad) {
            Some(401) => true,
            Some(503) => {
                late += 1;
                false
            }
            other => panic!("what was taken back is answered {other:?}"),
        });
        assert!(asked.is_some_and(|took| took < BUSY || late > 0), "{asked:?}");
        assert_eq!(status(&mut gateway, good), Some(200));
    }
    let by_durable = answered_by(&stage, 1, "durable") - before;
    println!("{by_durable} answers of the durable store, which was late {late} times");
    // Of the last few, memory may not have told the stores yet: then it knows them exactly.
    assert!(by_durable > u64::try_from(MANY / 2).unwrap(), "{by_durable}");
    redis.nodes().iter().for_each(|node| node.process().go_on());
}
