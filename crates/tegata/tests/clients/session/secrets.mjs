// What a hostile script of the page can take, and what it cannot; and where requests carry what.

import { COOKIES, LISTEN, PATCHES, SEARCH, STAY, TRIES } from './hostile.mjs'
import { Report } from './report.mjs'
import { assert, bearer, demo, stranger, town } from './town.mjs'

await town(async town => {
  const { road } = town
  const [other, ours] = [await stranger(), await stranger()]
  const person = await town.person()
  let tab = await town.tab('/test/page', true)
  await tab.run('session.user()')
  const secrets = async () => {
    const cookies = await town.cookies()
    const tokens = road.refreshes().filter(it => it.status === 200).map(it => JSON.parse(it.body).access_token)
    return { session: cookies.session_id, refresh: cookies.refresh_token, token: tokens.at(-1) }
  }
  const holds = (texts, secret) => texts.some(text => text.includes(secret))
  const report = new Report(town, 'tokens', '/echo/x')
  /** All that would be worth taking: cookies, and whatever tokens this browser was given. */
  const all = async () => {
    const given = road.passed.filter(({ path, status }) => path.startsWith('/api/auth/') && status === 200)
    const tokens = given.map(({ body }) => JSON.parse(body).access_token).filter(it => it !== undefined)
    return [...Object.values(await town.cookies()), ...tokens]
  }

  // Nothing of it lies anywhere.
  let known = await secrets()
  await tab.run(`globalThis.known = { deep: [{ name: ${JSON.stringify(person.name)} }] }; undefined`)
  let found = await tab.run(SEARCH)
  assert(found.length > 1000)
  assert(holds(found, person.name), 'the search finds what is there')
  for (const [name, secret] of Object.entries(known)) assert(!holds(found, secret), `${name} was found`)
  await report.tried(TRIES.search, found, await all())

  // Whatever the script changes once the SDK is there, the SDK does not use: not for a refresh, not for a call.
  await tab.run(PATCHES)
  await tab.run('clock.sleep(25 * 60_000)')
  const called = "session.fetch('/echo/x', { method: 'POST', body: 'x' })"
  assert.equal(await tab.run(`(async () => (await ${called}).status)()`), 200)
  known = await secrets()
  assert.equal(bearer(road.to('/echo/x').at(-1)), known.token)
  await tab.run("JSON.stringify('its own')")
  const loot = await tab.run('loot')
  assert(holds(loot, 'its own'), 'the patches see what the page itself does')
  for (const [name, secret] of Object.entries(known)) assert(!holds(loot, secret), `${name} was taken`)
  await report.tried(TRIES.patches, loot, await all())

  // Nothing goes elsewhere: not asked for, not by a redirect, not by an object that says one address and then
  // another.
  const first = tab
  tab = await town.tab(`/test/page?audience=${encodeURIComponent(ours.origin)}`, true)
  await tab.run('session.user()')
  const fetched = (what, init = '') => tab.run(`session.fetch(${what}${init && `, ${init}`}).then(answer => answer.status, error => error.name)`)
  const quoted = JSON.stringify
  assert.equal(await fetched(quoted(`${other.origin}/plain`)), 200)
  const away = (to, status = 302) => quoted(`/test/away?status=${status}&to=${encodeURIComponent(to)}`)
  assert.equal(await fetched(away(`${other.origin}/redirected`)), 200)
  assert.equal(await fetched(away('/echo/redirected')), 200)
  for (const status of [302, 307, 308]) {
    assert.equal(await fetched(away(`${other.origin}/posted`, status), "{ method: 'POST', body: 'x' }"), 'TypeError')
  }
  const turning = `{ n: 0, toString() { this.n += 1; return this.n % 2 ? '/echo/turning' : ${quoted(`${other.origin}/turned`)} } }`
  for (let tries = 0; tries < 3; tries += 1) await fetched(turning)
  await fetched(`Object.assign(new URL('/echo/x', location.href), { toString: () => ${quoted(`${other.origin}/turned`)} })`)
  // An audience is sent the token, and neither cookies nor what guards them; and leads nowhere with it.
  assert.equal(await fetched(quoted(`${ours.origin}/named`), "{ method: 'POST', body: 'x' }"), 200)
  assert.equal(await fetched(quoted(`${ours.origin}/to/${encodeURIComponent(`${other.origin}/onward`)}`)), 200)
  const real = list => list.filter(({ method }) => method !== 'OPTIONS')
  assert(real(other.sent).length >= 3 && !real(other.sent).some(({ url }) => url === '/posted'))
  for (const { url, headers } of other.sent) {
    assert.deepEqual([headers.authorization, headers['x-csrf-token'], headers.cookie], [undefined, undefined, undefined], url)
    assert(!/authorization|csrf|device/i.test(headers['access-control-request-headers'] ?? ''), url)
    assert.equal(headers['x-device-hints'], undefined, url)
  }
  await report.tried(TRIES.away, other.sent.map(it => JSON.stringify(it)), await all())
  const named = real(ours.sent).find(({ url }) => url === '/named')
  assert.equal(bearer(named), (await secrets()).token)
  assert.deepEqual([named.headers['x-csrf-token'], named.headers.cookie], [undefined, undefined])
  const refused = origin => tab.run(`import('/assets/tegata/session.js').then(({ createSession }) => {
    try { createSession({ audiences: [${quoted(origin)}] }); return 'taken' } catch (error) { return error.message }
  })`)
  for (const bad of ['http://api.example.com', 'https://api.example.com/', 'https://api.example.com/path', 'null']) {
    assert.notEqual(await refused(bad), 'taken', bad)
  }

  // An answer that a browser could take for something else is warned of once.
  const warned = []
  town.tools.on('Runtime.consoleAPICalled', tab.session, ({ type, args }) => warned.push([type, args[0].value]))
  await fetched("'/test/sniffed'")
  await fetched("'/test/sniffed'")
  await tab.run('1')
  assert.deepEqual(warned.filter(([type]) => type === 'warning').length, 1)
  assert.match(warned[0][1], /nosniff/)
  assert.deepEqual(await tab.run('violations'), [])

  // What it can do: be the person while the page is open. It asks the server for tokens as the SDK does.
  await report.tried(TRIES.cookies, await tab.run(COOKIES), await all())
  const heard = await tab.run(LISTEN)
  assert(heard.length > 0)
  await report.tried(TRIES.channel, heard, await all())
  const taken = await tab.run(`(async () => {
    const json = answer => answer.json()
    const { csrf_token } = await fetch('/api/auth/csrf').then(json)
    const { access_token, expires_in } = await fetch('/api/auth/refresh', {
      method: 'POST', headers: { 'X-CSRF-Token': csrf_token },
    }).then(json)
    const called = await fetch('/echo/x', { method: 'POST', headers: { 'X-CSRF-Token': csrf_token } }).then(answer => answer.status)
    return { csrf_token, access_token, expires_in, called, cookie: document.cookie }
  })()`)
  await report.tried(TRIES.server, [JSON.stringify(taken)], await all())
  report.acted(TRIES.acts, taken.called === 200)
  report.left(TRIES.stays, await tab.run(STAY))
  assert(taken.expires_in <= 900)
  assert.equal(taken.cookie, '')
  const shown = { authorization: `Bearer ${taken.access_token}` }
  assert.equal(await town.elsewhere('/echo/x', shown), 200)
  // With all that it took, somebody elsewhere gets nothing that lasts longer: no session, no other token.
  const worn = { ...shown, 'x-csrf-token': taken.csrf_token, origin: demo.gateway }
  assert.equal(await town.elsewhere('/api/auth/refresh', worn, 'POST'), 401)
  assert.equal(await town.elsewhere('/api/auth/session', worn), 401)
  assert.equal(await town.elsewhere('/api/auth/csrf', worn), 401)
  // With the tabs, the script has ended, and not the token that it took. When the person signs out, that is over too.
  await first.close()
  await tab.close()
  await report.closed()
  assert.equal(await town.elsewhere('/echo/x', shown), 200)
  const next = await town.tab('/test/page', true)
  assert.equal((await next.run('session.user()')).username, person.name)
  assert.equal(await next.run('session.logout()'), true)
  assert.equal(await town.elsewhere('/echo/x', shown), 401)
  await report.ended()
  other.end()
  ours.end()
})
