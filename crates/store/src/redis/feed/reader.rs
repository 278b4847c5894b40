//! The hearing end of one topic: follows its stream, and notices what it cannot have read.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ::redis::{
    FromRedisValue as _, RedisResult,
    aio::MultiplexedConnection,
    cmd, pipe,
    streams::{StreamId, StreamRangeReply, StreamReadReply},
};
use parking_lot::Mutex;
use tegata_core::{Node, port::Heard};

use super::{
    super::reach::{Reach, Role, within},
    RedisFeedConfig,
};
use crate::{
    fan::Fan,
    pause::{pause, wait},
};

/// How long the server waits for a new entry before it answers that there is none.
const BLOCK: Duration = Duration::from_secs(1);
/// How long it waits where the answer is awaited; 0 would be for ever.
const AT_ONCE: Duration = Duration::from_millis(1);
/// How many entries are read at once.
const BATCH: usize = 500;
/// Before the first entry of any stream.
const BEGINNING: &str = "0-0";

/// Which streams cannot be read at the moment, and why.
#[derive(Clone, Default)]
pub(super) struct Deaf(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Deaf {
    /// Why something is not heard, if it is not.
    pub(super) fn outage(&self) -> Option<String> {
        let deaf = self.0.lock();
        deaf.iter().next().map(|(stream, why)| format!("the stream `{stream}` is not read: {why}"))
    }

    fn note(&self, stream: &'static str, read: Result<(), String>) {
        let mut deaf = self.0.lock();
        match read {
            Ok(()) => deaf.remove(stream),
            Err(why) => deaf.insert(stream, why),
        };
    }
}

/// Reads the stream of one topic.
pub(super) struct Reader {
    stream: &'static str,
    fan: Fan,
    deaf: Deaf,
    reach: Arc<Reach>,
    config: RedisFeedConfig,
    node: Node,
    connection: Option<MultiplexedConnection>,
    /// The last entry that was read, or [`BEGINNING`] where the stream had none.
    after: String,
}

impl Reader {
    /// A reader of what is added from now on.
    pub(super) async fn begin(
        stream: &'static str,
        fan: Fan,
        deaf: Deaf,
        reach: Arc<Reach>,
        config: RedisFeedConfig,
        node: Node,
    ) -> RedisResult<Self> {
        let open = reach.connect(Role::Primary, config.limits()).await?;
        let mut connection = open.connection;
        let last = cmd("XREVRANGE").arg(stream).arg("+").arg("-").arg("COUNT").arg(1).to_owned();
        let last = within(config.answer, last.query_async::<StreamRangeReply>(&mut connection));
        let after = tail(last.await?);
        Ok(Self { stream, fan, deaf, reach, config, node, connection: Some(connection), after })
    }

    /// Reads for ever.
    pub(super) async fn read(mut self) {
        let mut attempts = 1;
        loop {
            let followed = match self.connection.take() {
                Some(mut connection) => {
                    // The first answer on a new connection is not waited for: it tells that it reads.
                    let block = if attempts == 1 { BLOCK } else { AT_ONCE };
                    let followed = self.follow(&mut connection, block).await;
                    followed.map(|()| (connection, 1))
                }
                None => {
                    attempts += 1;
                    wait(pause(&self.node, attempts)).await;
                    self.connect().await.map(|connection| (connection, attempts))
                }
            };
            match followed {
                Ok((connection, 1)) => {
                    (self.connection, attempts) = (Some(connection), 1);
                    self.deaf.note(self.stream, Ok(()));
                }
                Ok((connection, _)) => self.connection = Some(connection),
                Err(error) => {
                    tracing::debug!(%error, "the stream `{}` breaks off", self.stream);
                    self.deaf.note(self.stream, Err(error.to_string()));
                }
            }
        }
    }

    /// A new connection. It may lead to another server, and what that did not learn from the one
    /// before is missed; what is said after the gap is read from here on.
    async fn connect(&mut self) -> RedisResult<MultiplexedConnection> {
        let open = self.reach.connect(Role::Primary, self.config.limits()).await?;
        let mut connection = open.connection;
        let there = self.look(&mut connection).await?;
        if there.is_missed(&self.after, self.config.kept) {
            self.after = there.tail;
        }
        self.fan.say(Heard::Gap);
        Ok(connection)
    }

    /// Reads what there is, or waits a while for the next.
    async fn follow(
        &mut self,
        connection: &mut MultiplexedConnection,
        block: Duration,
    ) -> RedisResult<()> {
        let mut next = cmd("XREAD");
        next.arg("COUNT").arg(BATCH).arg("BLOCK").arg(block.as_millis().to_string());
        next.arg("STREAMS").arg(self.stream).arg(&self.after);
        let patience = block + self.config.answer;
        let read = next.query_async::<Option<StreamReadReply>>(connection);
        let read = within(patience, read).await?.unwrap_or_default();
        let entries = read.keys.into_iter().flat_map(|key| key.ids).collect::<Vec<_>>();
        let there = self.look(connection).await?;
        let missed = there.is_missed(&self.after, self.config.kept);
        match entries.last() {
            Some(last) => self.after.clone_from(&last.id),
            // It was emptied, or begins anew with smaller numbers.
            None if missed => self.after = there.tail,
            None => {}
        }
        if missed {
            self.fan.say(Heard::Gap);
        }
        for body in entries.iter().filter_map(body) {
            self.fan.say(Heard::Message(body));
        }
        Ok(())
    }

    async fn look(&self, connection: &mut MultiplexedConnection) -> RedisResult<There> {
        let mut questions = pipe();
        questions.cmd("XRANGE").arg(self.stream).arg(&self.after).arg(&self.after);
        questions.cmd("XLEN").arg(self.stream);
        questions.cmd("XREVRANGE").arg(self.stream).arg("+").arg("-").arg("COUNT").arg(1);
        let answers =
            questions.query_async::<(StreamRangeReply, u64, StreamRangeReply)>(connection);
        let (last_read, length, last) = within(self.config.answer, answers).await?;
        Ok(There { last_read: !last_read.ids.is_empty(), length, tail: tail(last) })
    }
}

/// What a stream looks like.
struct There {
    /// Whether the entry that was read last is there.
    last_read: bool,
    /// How many entries there are.
    length: u64,
    /// The last one.
    tail: String,
}

impl There {
    /// Whether entries after `after` may have come and gone. A stream that was empty had no entry to
    /// look for; nothing of it is gone before it has been as long as it may be.
    fn is_missed(&self, after: &str, kept: u32) -> bool {
        if after == BEGINNING { self.length >= u64::from(kept) } else { !self.last_read }
    }
}

fn tail(last: StreamRangeReply) -> String {
    last.ids.into_iter().next().map_or_else(|| BEGINNING.to_owned(), |last| last.id)
}

/// What an entry says. One without a body was written by somebody else.
fn body(entry: &StreamId) -> Option<Vec<u8>> {
    entry.map.get("body").and_then(|body| Vec::<u8>::from_redis_value_ref(body).ok())
}
