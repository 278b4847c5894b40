//! Sentinels, asked where the servers are that they watch.
//!
//! All of them are asked at once, and whatever one names is tried as soon as it says so: neither one
//! that is silent nor one that was cut off, and still names the primary of before, keeps anybody
//! away. What they name must itself say that it has the role; and of Sentinels that name different
//! primaries, the one is believed that knows of the later failover, since both may say that they are.

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{Client, ErrorKind, RedisError, RedisResult, aio::MultiplexedConnection, cmd};
use tokio::time::timeout;

use super::{
    address::Place,
    fault::is_about_login,
    reach::{Access, Role, settings, within},
};

/// The Sentinels of one deployment. They share its users.
pub(super) struct Sentinels {
    all: Vec<Sentinel>,
    /// What they call the primary.
    name: String,
    /// With which replica the next one begins.
    turn: AtomicUsize,
}

struct Sentinel {
    client: Client,
    /// The connection of the last question.
    open: Mutex<Option<MultiplexedConnection>>,
}

impl Sentinels {
    pub(super) fn new(access: &Access, places: &[Place], name: &str) -> RedisResult<Self> {
        // A Sentinel has no databases.
        let sentinel =
            |place| Ok(Sentinel { client: access.client(place, 0)?, open: Mutex::default() });
        let all = places.iter().map(sentinel).collect::<RedisResult<Vec<_>>>()?;
        Ok(Self { all, name: name.to_owned(), turn: AtomicUsize::new(0) })
    }

    /// A success of `visit` at a server that a Sentinel names, and none names a later one. Each
    /// Sentinel may take `patience` to answer.
    pub(super) async fn find<T, F>(
        &self,
        role: Role,
        patience: Duration,
        visit: impl Fn(Place) -> F,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let ask = |sentinel| within(patience, Sentinel::ask(sentinel, &self.name, role, patience));
        let mut asked = self.all.iter().map(ask).collect::<FuturesUnordered<_>>();
        let (mut heard, mut visits) = (Heard::default(), FuturesUnordered::new());
        let mut fault = RedisError::from((ErrorKind::EmptySentinelList, "no Sentinel is named"));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        loop {
            let failed = tokio::select! {
                Some(answer) = asked.next() => match answer.map(|named| heard.take(named)) {
                    Ok(Some((epoch, places))) => {
                        visits.push(first(epoch, places, turn, &visit));
                        continue;
                    }
                    Ok(None) => continue,
                    Err(error) => error,
                },
                Some(visited) = visits.next() => match visited {
                    Ok((epoch, visited)) => {
                        // Most of them know what the latest is. Those that are late are waited for
                        // a little.
                        let mut late = Vec::new();
                        let others = async {
                            while heard.answers * 2 <= self.all.len()
                                && let Some(answer) = asked.next().await
                            {
                                late.extend(answer.ok().and_then(|named| heard.take(named)));
                            }
                        };
                        let _elapsed = timeout(patience / 4, others).await;
                        for (epoch, places) in late {
                            visits.push(first(epoch, places, turn, &visit));
                        }
                        if epoch >= heard.latest {
                            return Ok(visited);
                        }
                        (ErrorKind::Client, "a Sentinel knows of a later primary").into()
                    }
                    Err(error) => error,
                },
                else => return Err(fault),
            };
            // That we are not let in says more than that somebody is silent.
            if !is_about_login(&fault) {
                fault = failed;
            }
        }
    }
}

/// What Sentinels have answered.
#[derive(Default)]
struct Heard {
    answers: usize,
    /// The number of the last failover that any of them knows of.
    latest: u64,
    named: BTreeSet<Named>,
}

/// The number of the last failover that a Sentinel knows of, and the servers that it names.
type Named = (u64, Vec<Place>);

impl Heard {
    /// Takes down an answer; gives it back if it says something new.
    fn take(&mut self, named: Named) -> Option<Named> {
        self.answers += 1;
        self.latest = self.latest.max(named.0);
        self.named.insert(named.clone()).then_some(named)
    }
}

/// The first success among places, tried in turn.
async fn first<T, F>(
    epoch: u64,
    mut places: Vec<Place>,
    turn: usize,
    visit: &impl Fn(Place) -> F,
) -> RedisResult<(u64, T)>
where
    F: Future<Output = RedisResult<T>>,
{
    let begin = turn % places.len().max(1);
    places.rotate_left(begin);
    let none = (ErrorKind::NoValidReplicasFoundBySentinel, "no replica is in step");
    let mut fault = RedisError::from(none);
    for place in places {
        match visit(place).await {
            Ok(visited) => return Ok((epoch, visited)),
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

impl Sentinel {
    /// Where it says that servers of that role are.
    async fn ask(&self, name: &str, role: Role, patience: Duration) -> RedisResult<Named> {
        let held = self.open.lock().clone();
        if let Some(mut connection) = held {
            // A connection that has gone silent leaves time for another.
            let named = within(patience / 2, named(&mut connection, name, role)).await;
            match named {
                Err(error) if error.is_io_error() || error.is_unrecoverable_error() => {
                    self.open.lock().take();
                }
                named => return named,
            }
        }
        let settings = settings(patience);
        let opening = self.client.get_multiplexed_async_connection_with_config(&settings);
        let mut connection = opening.await?;
        let named = named(&mut connection, name, role).await?;
        *self.open.lock() = Some(connection);
        Ok(named)
    }
}

async fn named(
    connection: &mut MultiplexedConnection,
    name: &str,
    role: Role,
) -> RedisResult<Named> {
    let mut question = cmd("SENTINEL");
    match role {
        Role::Primary => {
            question.arg("MASTER").arg(name);
            let said = question.query_async::<HashMap<String, String>>(connection).await?;
            let epoch = said.get("config-epoch").and_then(|epoch| epoch.parse().ok());
            let unknown = "a Sentinel does not say where it is";
            let unknown = (ErrorKind::MasterNameNotFoundBySentinel, unknown);
            let place = place(&said).ok_or_else(|| RedisError::from(unknown))?;
            Ok((epoch.unwrap_or(0), vec![place]))
        }
        Role::Replica => {
            question.arg("REPLICAS").arg(name);
            let replicas = question.query_async::<Vec<HashMap<String, String>>>(connection).await?;
            Ok((0, replicas.iter().filter_map(in_step).collect()))
        }
    }
}

fn place(said: &HashMap<String, String>) -> Option<Place> {
    Some((said.get("ip")?.clone(), said.get("port")?.parse().ok()?))
}

/// Where a replica is, if it follows its primary.
fn in_step(said: &HashMap<String, String>) -> Option<Place> {
    let away = |flag: &str| matches!(flag, "s_down" | "o_down" | "disconnected");
    if said.get("flags")?.split(',').any(away) {
        return None;
    }
    if said.get("master-link-status").is_some_and(|status| status != "ok") {
        return None;
    }
    place(said)
}
