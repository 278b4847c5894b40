// What a hostile script takes where a server is set to give pages no tokens (`tokens.for_pages = false`): nothing
// that is of use to anybody else, and nothing that outlives the tab.

import { COOKIES, LISTEN, PATCHES, SEARCH, STAY, TRIES } from './hostile.mjs'
import { Report } from './report.mjs'
import { assert, demo, stranger, town } from './town.mjs'

const JWT = /eyJ[\w-]{8,}\.[\w-]+\.[\w-]*/

await town(async town => {
  const { road } = town
  const ours = await stranger()
  const [person] = demo.users
  await town.signIn(person)
  const tab = await town.tab(`/test/page?audience=${encodeURIComponent(ours.origin)}`, true)
  assert.equal((await tab.run('session.user()')).username, person.name)
  const cookies = async () => Object.values(await town.cookies())
  const report = new Report(town, 'no tokens', '/orders/1')

  // Nothing of it lies anywhere, and the server has said no token to anybody.
  await tab.run(`globalThis.known = { deep: [{ name: ${JSON.stringify(person.name)} }] }; undefined`)
  const found = await tab.run(SEARCH)
  assert(found.some(text => text.includes(person.name)), 'the search finds what is there')
  let secrets = await cookies()
  assert(secrets.length >= 2)
  // The service says again what it was sent, and so the token that was made for it alone.
  const inner = /x-internal-token: (\S+)/g
  const taken = texts => texts.map(text => text.replaceAll(inner, ''))
    .filter(text => JWT.test(text) || secrets.some(secret => text.includes(secret)))
  assert.deepEqual(taken(found), [])
  await report.tried(TRIES.search, found, secrets)

  // Nor does any of it come by while the SDK signs, refreshes and calls.
  await tab.run(PATCHES)
  await tab.run('clock.sleep(25 * 60_000)')
  const call = "session.fetch('/orders/1', { method: 'POST', body: 'x' }).then(answer => answer.status)"
  assert.equal(await tab.run(call), 200)
  assert(road.refreshes().some(it => it.status === 200))
  await tab.run(`session.fetch(${JSON.stringify(`${ours.origin}/named`)})`)
  await tab.run("JSON.stringify('its own')")
  const loot = await tab.run('loot')
  assert(loot.includes('its own'), 'the patches see what the page itself does')
  secrets = [...secrets, ...await cookies()]
  assert.deepEqual(taken(loot), [])
  await report.tried(TRIES.patches, loot, secrets)
  const [[, forService]] = [...road.to('/orders/1').at(-1).body.matchAll(inner)]
  for (const origin of [demo.gateway, demo.issuer]) {
    const paths = ['/orders/1', '/api/auth/session', '/oauth2/userinfo']
    for (const path of paths) {
      const answer = await fetch(origin + path, { headers: { authorization: `Bearer ${forService}` } })
      assert([401, 404].includes(answer.status), `${path}: ${answer.status}`)
    }
  }
  assert.equal(await tab.run(`session.fetch('/test/away?to=${encodeURIComponent(`${ours.origin}/away`)}').then(answer => answer.status)`), 200)
  assert(ours.sent.length >= 2)
  await report.tried(TRIES.away, ours.sent.map(it => JSON.stringify(it)), secrets)
  const said = road.passed.filter(({ path }) => path !== '/orders/1').map(({ body }) => body ?? '')
  assert.deepEqual(said.filter(text => JWT.test(text)), [])

  // It can be the person while the page is open, and asks for all that the server gives.
  const got = await tab.run(`(async () => {
    const json = answer => answer.json()
    const { csrf_token } = await fetch('/api/auth/csrf').then(json)
    const post = { method: 'POST', headers: { 'X-CSRF-Token': csrf_token } }
    const refreshed = await fetch('/api/auth/refresh', post).then(json)
    const own = await fetch('/api/auth/session').then(json)
    const signed = await fetch('/api/auth/login', {
      method: 'POST', headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': csrf_token },
      body: JSON.stringify({ username: own.user.username, password: 'guessed' }),
    }).then(answer => answer.status)
    const called = await fetch('/orders/1', post).then(answer => answer.status)
    return { csrf_token, refreshed, own, signed, called, cookie: document.cookie }
  })()`)
  assert.deepEqual([got.signed, got.called, got.cookie], [401, 200, ''])
  assert.equal('access_token' in got.refreshed, false)
  const second = await town.tab('/test/page', true)
  assert.equal((await second.run('session.user()')).username, person.name)
  const heard = await second.run(LISTEN)
  assert(heard.length > 0)
  secrets = [...secrets, ...await cookies()]
  assert.deepEqual(taken([JSON.stringify(got), ...heard]), [])
  await report.tried(TRIES.cookies, await second.run(COOKIES), secrets)
  await report.tried(TRIES.channel, heard, secrets)
  await report.tried(TRIES.server, [JSON.stringify(got)], secrets)
  report.acted(TRIES.acts, got.called === 200)
  report.left(TRIES.stays, await second.run(STAY))
  await second.close()

  // Elsewhere, with every word of it in every place where a secret could stand: nobody.
  const words = new Set([...[JSON.stringify(got), ...heard].join().replaceAll('\\', '').matchAll(/"([^"]{16,})"/g)].map(([, word]) => word))
  assert(words.size >= 3, [...words].join())
  const own = { 'x-csrf-token': got.csrf_token, origin: demo.gateway }
  for (const word of words) {
    for (const headers of [
      { authorization: `Bearer ${word}` }, { cookie: `session_id=${word}` },
      { cookie: `refresh_token=${word}; session_id=${word}` }, { 'idempotency-key': word },
    ]) {
      for (const [path, method] of [['/orders/1', 'GET'], ['/api/auth/session', 'GET'], ['/api/auth/refresh', 'POST']]) {
        const status = await town.elsewhere(path, { ...own, ...headers }, method)
        assert([400, 401, 403].includes(status), `${method} ${path} ${Object.keys(headers)}: ${status}`)
      }
    }
  }

  // The tab is closed: what it had sent out is worth nothing, and what ran in it has ended. The person goes on.
  await tab.close()
  await report.closed()
  assert.equal(await town.elsewhere('/orders/1', own, 'POST'), 401)
  const next = await town.tab('/test/page', true)
  assert.equal((await next.run('session.user()')).username, person.name)
  assert.equal(await next.run("typeof globalThis.loot"), 'undefined')
  assert.deepEqual(await next.run('violations'), [])
  assert.equal(await next.run('session.logout()'), true)
  await report.ended()
  ours.end()
})
