// Many tabs are one session: ten make one refresh, one that stands still holds nobody up, and one that signs
// out ends it in all.

import { assert, bearer, town } from './town.mjs'

await town(async town => {
  const { road } = town

  // Nobody is signed in: that is no loss, and nobody is told anything.
  const stranger = await town.tab()
  assert.equal(await stranger.run('session.user()'), null)
  assert.equal(await stranger.run("session.fetch('/catalogue/products').then(answer => answer.status)"), 200)
  assert.deepEqual(await stranger.run('[heard, document.querySelector(".tegata-notice")]'), [[], null])
  await stranger.close()

  // Ten tabs at once, and one more later: one refresh, one token.
  const person = await town.person()
  const tabs = await Promise.all(Array.from({ length: 10 }, () => town.tab('/test/page?stay', true)))
  const users = await Promise.all(tabs.map(tab => tab.run('session.user().then(user => user?.username)')))
  assert.deepEqual(new Set(users), new Set([person.name]))
  assert.equal(road.refreshes().length, 1)
  tabs.push(await town.tab('/test/page?stay', true))
  const call = "session.fetch('/echo/x', { method: 'POST', body: 'x' }).then(answer => answer.status)"
  assert.deepEqual(new Set(await Promise.all(tabs.map(tab => tab.run(call)))), new Set([200]))
  assert.equal(road.refreshes().length, 1)
  const tokens = new Set(road.to('/echo/x').map(bearer))
  assert.equal(tokens.size, 1)
  assert([...tokens][0].split('.').length === 3)
  assert(road.to('/echo/x').every(({ headers }) => headers['x-csrf-token']))

  // All find it due at once; and whoever asks ten times at once asks once.
  await Promise.all(tabs.map(tab => tab.run('clock.pass(11 * 60_000)')))
  await Promise.all(tabs.map(tab => tab.run(`Promise.all(Array.from({ length: 10 }, () => ${call}))`)))
  await Promise.all(tabs.map(tab => tab.until('true')))
  assert.equal(road.refreshes().length, 2)

  // The server hangs while they wait for each other: one takes the lock, the others wait again, and all go on.
  const [slow, taker, ...waiting] = tabs.slice(2, 6)
  await Promise.all(tabs.map(tab => tab.run('clock.sleep(20 * 60_000)')))
  const begin = `globalThis.waited = ${call}; undefined`
  const pass = tab => tab.run('new Promise(resolve => setTimeout(resolve, 50)).then(() => clock.pass(16_000))')
  const hangs = road.holds('/api/auth/refresh')
  await slow.run(begin)
  const ends = [await hangs]
  const hangsToo = road.holds('/api/auth/refresh')
  for (const tab of [taker, ...waiting]) await tab.run(begin)
  await pass(taker)
  ends.push(await hangsToo)
  for (const tab of waiting) await pass(tab)
  const asked = road.refreshes().length
  for (const letGo of ends) letGo()
  for (const tab of [taker, ...waiting, slow]) assert.equal(await tab.run('waited'), 200)
  assert.equal(road.refreshes().length, asked)

  // A tab is frozen while it refreshes, and holds the lock. Another goes on after a while; and when the first
  // wakes, both do.
  const [frozen, other] = tabs
  const held = road.holds('/api/auth/refresh')
  await frozen.run('clock.sleep(11 * 60_000)')
  await frozen.run('void session.fetch("/echo/frozen")')
  const letGo = await held
  await frozen.call('Page.setWebLifecycleState', { state: 'frozen' })
  await other.run(`clock.sleep(20 * 60_000); globalThis.waited = ${call}; undefined`)
  await other.run('new Promise(resolve => setTimeout(resolve)).then(() => clock.pass(16_000))')
  assert.equal(await other.run('waited'), 200)
  const [first, second] = road.refreshes().slice(-2)
  assert.equal(first.headers['idempotency-key'], second.headers['idempotency-key'])
  assert.equal(first.headers.cookie, second.headers.cookie)
  assert.deepEqual([first.status, second.status], [200, 200])
  letGo()
  await frozen.call('Page.setWebLifecycleState', { state: 'active' })
  assert.equal(await frozen.run(call), 200)
  await other.run('clock.sleep(20 * 60_000)')
  assert.equal(await other.run(call), 200)
  assert.equal(road.refreshes().at(-1).status, 200)

  // One signs out: it is over in all, at once.
  assert.equal(await other.run('session.logout()'), true)
  await Promise.all(tabs.map(tab => tab.until('heard.includes("logout")')))
  assert.equal(await frozen.run('session.user()'), null)
  assert.equal((await town.cookies()).refresh_token, undefined)
  const last = [...tokens][0]
  assert.equal(await town.elsewhere('/echo/x', { authorization: `Bearer ${last}` }), 401)

  // A tab is told that nobody is signed in, and before it hears of it, somebody is: that ends nothing.
  const late = road.holds('/api/auth/csrf')
  await frozen.run("dispatchEvent(new Event('online')); undefined")
  const tellIt = await late

  // Somebody signs in in one tab: all are theirs. Then somebody else: what shows the first begins anew.
  const log = `session.login({ username: ${JSON.stringify(person.name)}, password: ${JSON.stringify(person.password)} })`
  assert.deepEqual(await other.run(log), { ok: true })
  await frozen.until('heard.filter(it => it === "start").length === 2')
  tellIt()
  assert.equal(await frozen.run('session.user().then(user => user?.username)'), person.name)
  assert.equal(await other.run(call), 200)
  assert.deepEqual(await other.run('heard.slice(-2)'), ['logout', 'start'])
  const wrong = await other.run('session.login({ username: "nobody", password: "wrong" })')
  assert.deepEqual([wrong.ok, wrong.error], [false, 'invalid_credentials'])
  const another = await town.person()
  // The clocks of these tabs are not the same any more, as those of a machine are.
  await frozen.run('clock.sleep(60 * 60_000)')
  await frozen.run(call).catch(() => undefined)
  await other.until('heard.includes("changed")')
  const fresh = await town.tab()
  assert.equal(await fresh.run('session.user().then(user => user?.username)'), another.name)
})
