#!/usr/bin/env bash
# What `tegata plan` counts with: the processor's time that a sign-in, a refresh, a checked call, a token
# taken back and a sign-out cost, and what they leave in PostgreSQL and Redis. One node, PEOPLE sign-ins,
# four refreshes each.
#
# Needs Node, wrk, curl, redis-server, nats-server and PostgreSQL, and `cargo build --release`.
# Everything it starts is in a directory of its own, on the ports below, and ends with it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tegata=${TEGATA:-$root/target/release/tegata}
people=${PEOPLE:-2000}
place=$(mktemp -d)
programs=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
as=() && [ "$(id -u)" != 0 ] || { as=(setpriv --reuid postgres --regid postgres --clear-groups); chown postgres "$place"; }
database() { "${as[@]}" "$programs/pg_ctl" -D "$place/data" -l "$place/postgres.log" "$@" > "$place/pg_ctl.log"; }
trap 'kill $(jobs -p) 2> "$place/kill.log" || true; database -m immediate stop || true; rm -rf "$place"' EXIT
cd "$place"

"${as[@]}" "$programs/initdb" -D "$place/data" -A trust -U tester > initdb.log
database -o "-p 17701 -k $place" -w start
"$programs/createdb" -h 127.0.0.1 -p 17701 -U tester plan
redis-server --port 17702 --save '' > redis.log &
nats-server -a 127.0.0.1 -p 17703 -js -sd "$place/streams" > nats.log 2>&1 &

"$tegata" init node > init.log
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
url = "postgres://tester@127.0.0.1:17701/plan"
[redis]
url = "redis://127.0.0.1:17702"
[events]
url = "nats://127.0.0.1:17703"
[gateway.limits]
exempt = ["127.0.0.0/8"]
[limits]
danger_exempt_loopback = true
[[service]]
name = "echo"
upstreams = ["http://127.0.0.1:17708"]
END
for n in $(seq "$people"); do
  printf '[[user]]\nusername = "u%s"\npassword = "a long and private phrase"\n' "$n"
done > people.toml
cat >> people.toml <<'END'
[[client]]
client_id = "robot"
client_secret = "a secret of the robot client"
grant_types = ["client_credentials"]
END
"$tegata" apply --config node/tegata.toml people.toml > apply.log
"$tegata" serve --config node/tegata.toml > tegata.log 2>&1 &
server=$!
curl -s --retry 60 --retry-delay 1 --retry-all-errors -o ready http://127.0.0.1:17707/health/ready

cat > client.mjs <<'END'
import http from 'node:http'
import { readFileSync, writeFileSync } from 'node:fs'
const [, , what, count] = process.argv
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 })
const robot = 'Basic ' + Buffer.from('robot:a secret of the robot client').toString('base64')
const form = (fields) => new URLSearchParams(fields).toString()
const ask = (method, path, person, body) => new Promise((resolve, reject) => {
  const headers = { Host: 'localhost:17705', Origin: 'http://localhost:17705', 'User-Agent': 'measuring' }
  if (body) headers['Content-Type'] = body[0] === '{' ? 'application/json' : 'application/x-www-form-urlencoded'
  if (path.startsWith('/oauth2')) headers.Authorization = robot
  if (person.cookies) headers.Cookie = Object.entries(person.cookies).map((it) => it.join('=')).join('; ')
  if (person.csrf) headers['X-CSRF-Token'] = person.csrf
  const request = http.request({ host: '127.0.0.1', port: 17705, method, path, headers, agent }, (answer) => {
    let text = ''
    answer.on('data', (chunk) => { text += chunk })
    answer.on('end', () => {
      if (answer.statusCode > 204) return reject(new Error(`${path}: ${answer.statusCode} ${text}`))
      for (const cookie of answer.headers['set-cookie'] ?? []) {
        const [name, value] = cookie.split(';')[0].split(/=(.*)/s)
        person.cookies = { ...person.cookies, [name]: value }
      }
      if (text) {
        const { csrf_token, access_token } = JSON.parse(text)
        person.csrf = csrf_token ?? person.csrf
        person.access = access_token ?? person.access
      }
      person.bytes = answer.rawHeaders.join('  ').length + text.length
      resolve()
    })
  })
  request.on('error', reject)
  request.end(body)
})
const people = what === 'login'
  ? Array.from({ length: Number(count) }, (_, n) => ({ name: `u${n + 1}` }))
  : JSON.parse(readFileSync('people.json'))
const one = {
  login: (it) => ask('POST', '/api/auth/login', it, JSON.stringify({ username: it.name, password: 'a long and private phrase' })),
  refresh: (it) => ask('POST', '/api/auth/refresh', it),
  session: (it) => ask('GET', '/api/auth/session', it),
  issue: (it) => ask('POST', '/oauth2/token', it, form({ grant_type: 'client_credentials' })),
  revoke: (it) => ask('POST', '/oauth2/revoke', it, form({ token: it.access })),
  logout: (it) => ask('POST', '/api/auth/logout', it),
}[what]
let next = 0
await Promise.all(Array.from({ length: 8 }, async () => {
  while (next < people.length) await one(people[next++])
}))
writeFileSync('people.json', JSON.stringify(people))
writeFileSync('token', people[0].access)
console.log('answer', people[0].bytes, 'bytes')
END
cat > echo.mjs <<'END'
import http from 'node:http'
http.createServer((_, answer) => answer.end('ok')).listen(17708, '127.0.0.1')
END
node echo.mjs &

sql() { "$programs/psql" -h 127.0.0.1 -p 17701 -U tester -Atqc "$1" plan; }
# Of a process, with the children that have ended, in ticks.
of() { awk '{print $14 + $15 + $16 + $17}' "/proc/$1/stat"; }
of_tegata() { of "$server"; }
of_postgres() {
  local parent child all=0
  parent=$(head -n 1 "$place/data/postmaster.pid")
  for child in "$parent" $(cat /proc/"$parent"/task/*/children); do all=$((all + $(of "$child"))); done
  echo "$all"
}
of_redis() { redis-cli -p 17702 info stats | awk -F: '/^total_commands_processed/ {print $2 + 0}'; }
held_by_redis() { redis-cli -p 17702 info memory | awk -F: '/^used_memory:/ {print $2 + 0}'; }
lsn() { sql "select pg_current_wal_lsn() - '0/0'"; }
ours="from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and nspname !~ '^pg_|information_schema'"
size() { sql "vacuum"; sql "select sum(pg_total_relation_size(c.oid)) $ours"; }
tables() { sql "select '  ' || rpad(relname, 24) || pg_total_relation_size(c.oid) / $people || ' bytes a sign-in' $ours and pg_total_relation_size(c.oid) > 70 * $people order by 1"; }
hz=$(getconf CLK_TCK)
# Runs something for all people, and says what one of them cost.
costs() {
  local what=$1; shift
  local tegata postgres wal bytes commands
  bytes=$(size) wal=$(lsn) commands=$(of_redis) postgres=$(of_postgres) tegata=$(of_tegata)
  "$@"
  tegata=$(($(of_tegata) - tegata)) postgres=$(($(of_postgres) - postgres)) commands=$(($(of_redis) - commands))
  wal=$(($(lsn) - wal)) bytes=$(($(size) - bytes))
  awk -v what="$what" -v n="$people" -v hz="$hz" -v tegata="$tegata" -v postgres="$postgres" -v commands="$commands" -v wal="$wal" -v bytes="$bytes" \
    'BEGIN { printf "%-8s tegata %6.0f us  postgres %5.0f us  redis %4.1f commands  log %5.0f bytes  tables %5.0f bytes\n", what, tegata / hz / n * 1e6, postgres / hz / n * 1e6, commands / n, wal / n, bytes / n }'
}

tables
empty=$(held_by_redis)
costs login node client.mjs login "$people"
tables
for _ in 1 2 3 4; do costs refresh node client.mjs refresh; done
tables
costs session node client.mjs session
echo "redis: $(( ($(held_by_redis) - empty) / people )) bytes a person who is signed in, $(redis-cli -p 17702 dbsize) keys in all"
check() { wrk -t1 -c64 -d6 -H "Authorization: Bearer $(cat token)" -H 'Host: localhost:17706' http://127.0.0.1:17706/echo/; }
for _ in 1 2 3; do
  before=$(of_tegata); check > check.log; after=$(of_tegata)
  awk -v cpu=$((after - before)) -v hz="$hz" '/requests in/ {n = $1} /Non-2xx/ {print} END { printf "check    tegata %6.1f us\n", cpu / hz / n * 1e6 }' check.log
done
cp people.json signed-in.json
costs issue node client.mjs issue
costs revoke node client.mjs revoke
tables
cp signed-in.json people.json
costs logout node client.mjs logout
tables
awk '/VmRSS/ {print "resident " $2 " KiB"}' "/proc/$server/status"
