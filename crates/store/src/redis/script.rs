//! What Redis does in one step. Each script touches one key, so that it runs on any cluster.

use redis::Script;

use super::wire::Again;

/// What the writing scripts begin with.
///
/// `ARGV`: now; until when it is to live, the lifetime of the key, the revision, the index value
/// (empty: the one of the living value stays), the value; the index value that is known to stay.
///
/// A value whose index stays is not written before its place in the index lives as long: the script
/// answers the index value, and is asked again by somebody who has seen to that.
const WRITING: &str = r"
local now = tonumber(ARGV[1])
local held = redis.call('GET', KEYS[1])
if held and struct.unpack('>I8', held) <= now then held = false end
local function write()
  local index = ARGV[5]
  if index == '' and held then
    index = string.sub(held, 19, 18 + struct.unpack('>I2', held, 17))
    if index ~= '' and index ~= ARGV[7] then return {'index', index} end
  end
  local form = ARGV[2] .. ARGV[4] .. struct.pack('>I2', #index) .. index .. ARGV[6]
  redis.call('SET', KEYS[1], form, 'PX', ARGV[3])
  return {'won'}
end
local revision = held and string.sub(held, 9, 16)
";

/// Writes, whatever is there.
const PUT: &str = "return write()";

/// Writes where nothing is. A writer that asks again wins again.
const ADD: &str = r"
if revision == ARGV[4] then return {'won'} end
if held then return {'lost', held} end
return write()";

/// Writes where the revision is `ARGV[8]`. A writer that asks again wins again.
const SWAP: &str = r"
if not held then return {'gone'} end
if revision == ARGV[4] then return {'won'} end
if revision ~= ARGV[8] then return {'lost', held} end
return write()";

/// Answers what is there, and removes it.
const TAKE: &str = r"
local held = redis.call('GET', KEYS[1])
if held then redis.call('DEL', KEYS[1]) end
return held";

/// Gives a key (`ARGV[1]`) a place in an index until a moment (`ARGV[2]`), forgets places that ended
/// before another (`ARGV[3]`), and keeps the index for as long as it is of use (`ARGV[4]`).
const PLACE: &str = r"
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[4]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {'won'}";

/// The scripts, with what Redis knows them by.
pub(super) struct Scripts {
    pub(super) put: Known,
    pub(super) add: Known,
    pub(super) swap: Known,
    pub(super) take: Known,
    pub(super) place: Known,
}

/// A script, and what Redis knows it by once it has run it.
pub(super) struct Known {
    pub(super) text: String,
    pub(super) hash: String,
    /// Whether it may run once more where nobody knows whether it has run.
    pub(super) again: Again,
}

impl Known {
    pub(super) fn new(text: String, again: Again) -> Self {
        let hash = Script::new(&text).get_hash().to_owned();
        Self { text, hash, again }
    }
}

impl Scripts {
    /// All of them.
    pub(super) fn new() -> Self {
        // One that has written could find, when it comes again, that somebody has gone on from there:
        // that an added value was taken, or that a swapped one was swapped again. Adding it again would
        // bring back what was spent, and having lost is not what happened.
        let writing = |script: &str| Known::new([WRITING, script].concat(), Again::No);
        Self {
            put: writing(PUT),
            add: writing(ADD),
            swap: writing(SWAP),
            // What it has taken, it does not find again.
            take: Known::new(TAKE.to_owned(), Again::No),
            place: Known::new(PLACE.to_owned(), Again::Yes),
        }
    }
}
