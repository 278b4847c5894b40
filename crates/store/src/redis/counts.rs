//! `Counts` in Redis. Every name is one key, and counting is one script about it, so that a cluster can
//! hold each where it likes.
//!
//! The key holds when the allowance is whole again, on the clock of the server that has it: the clocks of
//! nodes decide nothing. A server whose clock is set back, or that takes over with another one, makes
//! nobody wait for longer than the allowance takes to be whole twice.

use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue as _, Value};
use tegata_core::{
    Counts, StoreError,
    port::{BoxFuture, Take, Taken},
    rate::Name,
};

use super::{BACKEND, Inner, fault::Fault, script::Known, wire::Again};

/// Counts, and says how it stands.
///
/// `ARGV`: the cost of one and the room of all, how many passed, whether one more is asked for, and for how
/// long it is known not to be whole. All spans in microseconds. Answers whether the one passes, for how long
/// it is not whole, and whether memory was lost: what a node knows may exceed what is there by a little, for
/// clocks do not run alike.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost, room = tonumber(ARGV[1]), tonumber(ARGV[2])
local held = tonumber(redis.call('GET', KEYS[1]) or '0')
local whole = math.min(math.max(held, now), now + 2 * room)
local known = now + math.min(tonumber(ARGV[5]), 2 * room)
local forgot = 0
if known > whole + room / 50 + 100000 then forgot = 1 end
whole = math.max(whole, known) + tonumber(ARGV[3]) * cost
local passes = 0
if ARGV[4] == '1' and whole + cost - now <= room then
  whole = whole + cost
  passes = 1
end
whole = math.min(whole, now + 2 * room)
if whole > now and whole ~= held then
  local lives = math.ceil((whole - now) / 1000) + 1000
  redis.call('SET', KEYS[1], string.format('%.17g', whole), 'PX', string.format('%.0f', lives))
end
return {passes, string.format('%.0f', whole - now), forgot}";

/// `Counts` in Redis.
#[derive(Clone)]
pub struct RedisCounts {
    redis: Arc<Inner>,
    take: Arc<Known>,
}

impl RedisCounts {
    pub(super) fn new(redis: Arc<Inner>) -> Self {
        // What is told twice, since nobody knows whether it was heard, is told as what was known before
        // the second time. So the same is never sent again by itself.
        Self { redis, take: Arc::new(Known::new(TAKE.to_owned(), Again::No)) }
    }

    /// Names are hashes, so they need not be kept from each other.
    fn key(&self, name: &Name) -> Vec<u8> {
        let hash = name.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{}{{}}:c:{hash}", self.redis.prefix).into_bytes()
    }
}

fn micros(span: Duration) -> String {
    format!("{}.{:03}", span.as_micros(), span.subsec_nanos() % 1000)
}

impl Counts for RedisCounts {
    fn take<'a>(
        &'a self,
        name: &'a Name,
        take: &'a Take,
    ) -> BoxFuture<'a, Result<Taken, StoreError>> {
        Box::pin(async move {
            let key = self.key(name);
            let words = [
                micros(take.cost),
                micros(take.room),
                take.counted.to_string(),
                u8::from(take.asks).to_string(),
                micros(take.known),
            ];
            let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
            let answer = self.redis.wire.run(&self.take, &key, &words).await;
            read(answer.map_err(Fault::of_change)?).ok_or_else(|| {
                let detail = "the script that counts answered what it never does".to_owned();
                StoreError::Indeterminate { backend: BACKEND, detail }
            })
        })
    }

    fn changes(&self) -> u64 {
        self.redis.fitness.standing().changes
    }
}

fn read(answer: Value) -> Option<Taken> {
    let (passes, ahead, forgot) = <(u8, u64, u8)>::from_redis_value(answer).ok()?;
    let ahead = Duration::from_micros(ahead);
    Some(Taken { passes: passes == 1, ahead, forgot: forgot == 1 })
}
