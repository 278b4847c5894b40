//! All scenarios, in the order of the rows of the fault matrix.

use anyhow::Result;
use tegata_engines::{Dependencies, EventsKind, Plan, RedisKind};

use crate::{
    report::Seen,
    scenario::{Breaks, OFTEN, Round, Scenario},
    stage::Stage,
};

mod d06_nodes_apart;
mod d06_sessions;
mod r01_everything;
mod r07_overload;
mod x01_redis_broken;
mod x02_foreign_dropped;
mod x05_postgres_away;
mod x06_answers_lost;
mod x09_dynamodb_broken;
mod x10_nodes_apart;
mod x11_node_alone;
mod x12_node_killed;
mod x13_node_paused;
mod x14_disk_full;
mod x15_clock_wrong;
mod x16_key_lost;
mod x17_bytes_flipped;
mod x18_upstream_failing;
mod x18_upstream_slow;
mod x19_key_flood;
mod x20_idle_connections;
mod x21_login_stampede;
mod x22_held;
mod x22_one_node;
mod x22_reload;
mod x22_rolling_restart;
mod x23_old_backup;
mod x25_garbage_heard;
mod x25_notice_replayed;
mod x26_policy_corrupt;

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    // One round of full length breaks as often as all of it asks for.
    Scenario {
        often: 0,
        ..on(
            "r1-everything",
            "Redis, NATS, PostgreSQL and nodes break in turn, while tokens are taken back as fast as \
             they can be: nothing acknowledged is lost, calls go on, and nodes learn of it in time",
            three_nodes_on_all,
            r01_everything::round,
        )
    },
    Scenario {
        name: "r7-overload",
        about: "three times as much comes as the gateway can carry, and a thousand uploads that nobody takes: \
                four fifths of what is possible is served, in time; the others are refused at once, and \
                memory stays under its cap",
        often: OFTEN,
        breaks: Breaks::Alone(r07_overload::round),
    },
    on(
        "d6-issuer-gone",
        "every node is killed: a sidecar goes on for 5 s, answers 503 then, and learns what was taken \
         back when they come back",
        two_nodes,
        d06_sessions::issuer,
    ),
    on(
        "d6-nodes-apart",
        "two nodes hear nothing of each other and both reach PostgreSQL, while people use their sessions at \
         either: whoever signs out is refused on both within 5 s, nobody else is signed out, and both nodes \
         say so until they hear each other again",
        on_nats_hearing,
        d06_nodes_apart::round,
    ),
    on(
        "d6-stores-gone",
        "PostgreSQL and Redis are away: calls with tokens go on, those with cookies are answered 503, \
         and nobody is signed out",
        on_redis,
        d06_sessions::store,
    ),
    Scenario {
        often: 50,
        ..on(
            "x1-redis-killed",
            "a primary of a Redis cluster is killed: calls go on, nothing acknowledged is lost",
            on_redis_cluster,
            x01_redis_broken::killed,
        )
    },
    on(
        "x2-redis-writes-dropped",
        "all primaries are replaced by replicas that lack the latest: no code counts twice, nothing \
         acknowledged is lost",
        on_redis_cluster,
        x01_redis_broken::dropped,
    ),
    Scenario {
        name: "x2-foreign-dropped",
        about: "the same for tokens of another issuer, about which Redis is asked: what the replicas lack is \
                refused on every node all the while, and in Redis again soon",
        often: OFTEN,
        breaks: Breaks::Alone(x02_foreign_dropped::round),
    },
    on(
        "x3-redis-minority",
        "a primary of a Redis cluster stands still, is replaced, and goes on: nothing comes back",
        on_redis_cluster,
        x01_redis_broken::held,
    ),
    on(
        "x4-redis-gone",
        "Redis is gone and comes back empty: calls go on, nothing comes back; one that forgets by \
         itself is refused",
        on_redis,
        x01_redis_broken::gone,
    ),
    on(
        "x4-redis-silent",
        "nothing of Redis is heard, and its connections stay open: it is left alone within a second, calls \
         go on, nothing comes back",
        on_redis,
        x01_redis_broken::silent,
    ),
    on(
        "x5-postgres-killed",
        "PostgreSQL is killed or stopped, and comes back: calls go on, changes are answered 503 at \
         once, nothing acknowledged is lost",
        on_nats,
        x05_postgres_away::killed,
    ),
    on(
        "x5-postgres-silent",
        "nothing of PostgreSQL is heard, and its connections stay open: the same",
        on_nats,
        x05_postgres_away::silent,
    ),
    on(
        "x5-postgres-apart",
        "one of two nodes hears nothing of PostgreSQL, while the other takes tokens back: the same, \
         and both refuse them",
        on_nats,
        x05_postgres_away::apart,
    ),
    on(
        "x6-answers-lost",
        "PostgreSQL commits and its answers are lost: whoever asks again gets the same successor, \
         no token is spent twice",
        two_nodes,
        x06_answers_lost::round,
    ),
    Scenario {
        name: "x7-async-standby",
        about: "a standby of PostgreSQL that lacks the latest takes over: nodes notice and end, and \
                once that is declared nothing from before counts; where a standby is required, a \
                server that waits for none is refused",
        often: OFTEN,
        breaks: Breaks::Alone(x23_old_backup::standby),
    },
    on(
        "x8-nats-gone",
        "NATS is gone and comes back empty: revocations are known within 5 s, and soon again at once",
        on_nats,
        x01_redis_broken::nats_gone,
    ),
    on(
        "x8-nats-silent",
        "nothing of NATS is heard, and its connections stay open: the same",
        on_nats,
        x01_redis_broken::nats_silent,
    ),
    on(
        "x9-dynamodb-gone",
        "DynamoDB refuses connections: nobody notices, and all that was taken back meanwhile is there \
         afterwards",
        on_dynamodb,
        x09_dynamodb_broken::gone,
    ),
    on(
        "x9-dynamodb-slow",
        "DynamoDB answers two seconds later: the same",
        on_dynamodb,
        x09_dynamodb_broken::slow,
    ),
    on(
        "x9-dynamodb-throttled",
        "DynamoDB refuses every call because there are too many: the same",
        on_dynamodb,
        x09_dynamodb_broken::throttled,
    ),
    on(
        "x10-nodes-apart",
        "two nodes hear nothing of each other and both reach PostgreSQL: no refresh token is spent \
         twice, revocations are known within 5 s",
        two_nodes,
        x10_nodes_apart::round,
    ),
    on(
        "x10-nodes-deaf",
        "nodes hear each other over NATS, and one of them hears nothing, is not heard, or both: the same",
        on_nats,
        x10_nodes_apart::in_nats,
    ),
    on(
        "x11-node-alone",
        "one node reaches nothing, neither PostgreSQL nor Redis nor NATS: it says so within 5 s, issues \
         nothing, and closes strict routes",
        three_nodes_on_all,
        x11_node_alone::round,
    ),
    on(
        "x12-node-killed",
        "a node is killed (SIGKILL) while it refreshes tokens: each family has one live token, and \
         nobody is stuck",
        two_nodes,
        x12_node_killed::round,
    ),
    on(
        "x13-node-paused",
        "a node stands still (SIGSTOP): afterwards it accepts nothing that was taken back meanwhile",
        two_nodes,
        x13_node_paused::round,
    ),
    Scenario {
        name: "x14-disk-full",
        about: "no file of a node on SQLite can grow: calls go on, changes are answered 503, and all \
                works again without a restart",
        often: OFTEN,
        breaks: Breaks::Alone(x14_disk_full::round),
    },
    on(
        "x15-clock-wrong",
        "the clock of one node jumps by five minutes: it says so, issues nothing that others refuse, \
         and forgets nothing",
        one_own_clock,
        x15_clock_wrong::round,
    ),
    on(
        "x15-clock-drifts",
        "the clock of one node runs twice as fast, or not at all: it says so when it is half a minute wrong, \
         and the same",
        one_own_clock,
        x15_clock_wrong::drifts,
    ),
    on(
        "x16-key-lost",
        "a signing key is taken back: all nodes refuse what it signed within a second, and sign with \
         another; the file of the root key is lost: what runs goes on, and says so",
        two_nodes,
        x16_key_lost::round,
    ),
    Scenario {
        name: "x17-bytes-flipped",
        about: "bytes of the files of a node are changed: it refuses to start or nothing is \
                different, and what was taken back stays refused",
        often: OFTEN,
        breaks: Breaks::Alone(x17_bytes_flipped::round),
    },
    on(
        "x18-upstream-slow",
        "a service answers 30 s late, and everybody asks for it: other services are as quick as before, \
         and it has no more requests than it may have",
        one_node,
        x18_upstream_slow::limited,
    ),
    on(
        "x18-upstream-failing",
        "a service breaks off whatever it is asked, one of two addresses of another says 503: what may be sent \
         again is, one request in ten at most, and nothing that must not be",
        one_node,
        x18_upstream_failing::round,
    ),
    Scenario {
        name: "x19-key-flood",
        about: "an issuer changes its keys as fast as it may, while gateways elsewhere are shown its tokens, \
                and by a thousand clients keys that nobody has: no good token is refused, and none asks for \
                the keys more often than every 10 s",
        often: OFTEN,
        breaks: Breaks::Alone(x19_key_flood::round),
    },
    Scenario {
        name: "x20-idle-connections",
        about: "ten thousand connections ask once and stay, in the clear and with TLS, with HTTP/1.1 and HTTP/2, and \
                five hundred never come to the end of a head: the others hardly notice, each idle one costs \
                30 KiB at most and is served when it asks again, and the slow ones are cut",
        often: OFTEN,
        breaks: Breaks::Alone(x20_idle_connections::round),
    },
    Scenario {
        name: "x21-login-stampede",
        about: "a node is killed, and a hundred clients sign in at once, again and again, when it is back: as \
                many as before are signed in, the others are told to come later, no more passwords are \
                hashed at a time than there are cores, and calls go on",
        often: OFTEN,
        breaks: Breaks::Alone(x21_login_stampede::round),
    },
    on(
        "x22-rolling-restart",
        "every node is restarted in turn, while keys change and connections are held: no request fails, \
         and no connection ends without a word",
        three_nodes_with_young_keys,
        x22_rolling_restart::round,
    ),
    on(
        "x22-upgrade",
        "every node is replaced in turn by a later build, and by the earlier one again (`--from`): no \
         request fails",
        three_older_nodes,
        x22_rolling_restart::upgrade,
    ),
    Scenario {
        name: "x22-reload",
        about: "settings, a route and the certificate of a node that is alone change again and again: no request \
                fails, and each answer is that of the old or the new",
        often: OFTEN,
        breaks: Breaks::Alone(x22_reload::round),
    },
    Scenario {
        name: "x22-handover",
        about: "another process takes the place of a node that is alone, again and again: no request \
                fails, and what was taken back stays refused",
        often: OFTEN,
        breaks: Breaks::Alone(x22_one_node::hand_over),
    },
    on(
        "x23-old-backup",
        "PostgreSQL is brought back from a backup: no node serves it unasked, and once that is \
         declared nothing from before counts, and people sign in anew",
        two_nodes,
        x23_old_backup::backup,
    ),
    missing("x24-authority-rotated", "an authority for workloads"),
    on(
        "x25-garbage-heard",
        "somebody says garbage where nodes listen to each other, and what was said before, and tells a \
         sidecar what the provider told before: nothing changes, and nobody takes old words for new",
        on_nats,
        x25_garbage_heard::round,
    ),
    Scenario {
        name: "x26-policy-corrupt",
        about: "files of policies are cut off and spoilt, under a node that runs and before it starts: what was \
                forbidden stays forbidden, and all else passes",
        often: OFTEN,
        breaks: Breaks::Alone(x26_policy_corrupt::round),
    },
];

const fn on(
    name: &'static str,
    about: &'static str,
    plan: fn(&Round) -> Plan,
    round: fn(&Stage, &Round) -> Result<Seen>,
) -> Scenario {
    Scenario { name, about, often: OFTEN, breaks: Breaks::Installation { plan, round } }
}

fn one_node(round: &Round) -> Plan {
    Plan::new(&round.program, 1)
}

fn two_nodes(round: &Round) -> Plan {
    Plan::new(&round.program, 2)
}

fn three_nodes(round: &Round) -> Plan {
    Plan::new(&round.program, 3)
}

/// Their keys may change after a few seconds.
fn three_nodes_with_young_keys(round: &Round) -> Plan {
    let environment = vec![("TEGATA_KEYS__JWKS_MAX_AGE".to_owned(), "5s".to_owned())];
    Plan { environment, ..three_nodes(round) }
}

fn three_nodes_on_all(round: &Round) -> Plan {
    Plan { nodes: 3, ..on_redis_cluster(round) }
}

/// On NATS, so that nodes of both builds also hear each other.
fn three_older_nodes(round: &Round) -> Plan {
    let program = round.older.as_ref().unwrap_or(&round.program);
    let dependencies = Dependencies { redis: RedisKind::None, events: EventsKind::Nats };
    Plan { dependencies, ..Plan::new(program, 3) }
}

fn one_own_clock(round: &Round) -> Plan {
    Plan { own_clocks: vec![1], ..Plan::new(&round.program, 2) }
}

fn on_redis_cluster(round: &Round) -> Plan {
    let dependencies = Dependencies { redis: RedisKind::Cluster, events: EventsKind::Nats };
    Plan { dependencies, ..two_nodes(round) }
}

fn on_redis(round: &Round) -> Plan {
    let dependencies = Dependencies { redis: RedisKind::Alone, events: EventsKind::Nats };
    Plan { dependencies, ..two_nodes(round) }
}

fn on_dynamodb(round: &Round) -> Plan {
    Plan { dynamodb: true, ..two_nodes(round) }
}

fn on_nats(round: &Round) -> Plan {
    let dependencies = Dependencies { redis: RedisKind::None, events: EventsKind::Nats };
    Plan { dependencies, ..two_nodes(round) }
}

/// They also hear each other directly. Cookies change all the time, and one person stands for many.
fn on_nats_hearing(round: &Round) -> Plan {
    let more = "[sessions]\nmost = 100\nrotation = \"2s\"\n".to_owned();
    Plan { hear: true, more, ..on_nats(round) }
}

const fn missing(name: &'static str, what: &'static str) -> Scenario {
    Scenario { name, about: "", often: 0, breaks: Breaks::Missing(what) }
}
