#!/usr/bin/env bash
# Sessions over HTTP, beside express-session on the same Redis: who is signed in, asked by 64
# connections. Each server has core 0, the load core 1; they take turns.
#
# Needs Node with npm, wrk, curl, redis-server, nats-server and PostgreSQL, and `cargo build --release`.
# Everything it starts is in a directory of its own, on the ports below, and ends with it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
place=$(mktemp -d)
postgres=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
as=() && [ "$(id -u)" != 0 ] || { as=(setpriv --reuid postgres --regid postgres --clear-groups); chown postgres "$place"; }
database() { "${as[@]}" "$postgres/pg_ctl" -D "$place/data" -l "$place/postgres.log" "$@" > "$place/pg_ctl.log"; }
trap 'kill $(jobs -p) 2> "$place/kill.log" || true; database -m immediate stop || true; rm -rf "$place"' EXIT
cd "$place"

"${as[@]}" "$postgres/initdb" -D "$place/data" -A trust -U tester > initdb.log
database -o "-p 17701 -k $place" -w start
"$postgres/createdb" -h 127.0.0.1 -p 17701 -U tester sessions
redis-server --port 17702 --save '' > redis.log &
nats-server -a 127.0.0.1 -p 17703 -js -sd "$place/streams" > nats.log 2>&1 &

cat > package.json <<'END'
{"type": "module", "dependencies": {"express": "^5", "express-session": "^1", "connect-redis": "^9", "redis": "^5"}}
END
npm install --silent --no-audit --no-fund > npm.log
cat > sessions.js <<'END'
import { RedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'
import { createClient } from 'redis'

const client = createClient({ url: 'redis://127.0.0.1:17702' })
await client.connect()
const app = express().disable('x-powered-by').disable('etag')
const store = new RedisStore({ client, disableTouch: true })
app.use(session({ store, secret: 'of the comparison', resave: false, saveUninitialized: false }))
app.get('/login', (request, response) => { request.session.user = 'maria'; response.json({}) })
app.get('/session', (request, response) => response.json({ user: request.session.user }))
app.listen(17704, '127.0.0.1')
END
taskset -c 0 node sessions.js > node.log 2>&1 &

"$root/target/release/tegata" init node > init.log
cat > node/tegata.toml <<'END'
[public]
listen = "127.0.0.1:17705"
issuer = "http://localhost:17705"
[gateway]
listen = "127.0.0.1:17706"
audience = "http://localhost:17706"
[operations]
listen = "127.0.0.1:17707"
[store]
url = "postgres://tester@127.0.0.1:17701/sessions"
[redis]
url = "redis://127.0.0.1:17702"
[events]
url = "nats://127.0.0.1:17703"
[[user]]
username = "maria"
password = "a long and private phrase"
END
taskset -c 0 "$root/target/release/tegata" serve --config node/tegata.toml > tegata.log 2>&1 &

ask() { curl -s --retry 60 --retry-delay 1 --retry-all-errors -A wrk "$@"; }
cookies() { grep -i '^set-cookie: .*\(session_id\|connect.sid\)=' | sed 's/^[^:]*: //; s/;.*//'; }
ask -o ready http://127.0.0.1:17707/health/ready
phrase='{"username":"maria","password":"a long and private phrase"}'
for _ in 1 2 3; do
  ask -D - -o answer http://127.0.0.1:17704/login | cookies >> express.cookies
  ask -D - -o answer -H 'Origin: http://localhost:17705' -H 'Content-Type: application/json' -d "$phrase" \
    http://localhost:17705/api/auth/login | cookies >> tegata.cookies
done
cat > cookies.lua <<'END'
local asked, at = {}, 0
function init()
  for cookie in io.lines(os.getenv("COOKIES")) do
    local headers = { Cookie = cookie, Host = os.getenv("AUTHORITY"), ["User-Agent"] = "wrk" }
    table.insert(asked, wrk.format("GET", os.getenv("ASKED"), headers))
  end
end
function request() at = at % #asked + 1; return asked[at] end
function done(summary)
  local bad = summary.errors.status + summary.errors.read + summary.errors.timeout
  print(string.format("RATE %.0f %d", summary.requests / summary.duration * 1e6, bad))
end
END
load() { COOKIES=$1.cookies ASKED=$2 AUTHORITY=localhost:$3 taskset -c 1 wrk -t1 -c64 -d4 -s cookies.lua "http://127.0.0.1:$3" | grep RATE; }
for round in 1 2 3 4 5; do
  read -r _ theirs bad <<< "$(load express /session 17704)"
  read -r _ ours worse <<< "$(load tegata /api/auth/session 17705)"
  echo "express-session $theirs/s ($bad bad)   tegata $ours/s ($worse bad)   ratio $(awk "BEGIN {printf \"%.1f\", $ours / $theirs}")"
done
