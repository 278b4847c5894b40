// The SDK where pages are given no access tokens: the session's cookie is all that there is.

import { assert, bearer, stranger, town } from './town.mjs'

await town(async town => {
  const { road } = town
  road.bare = true
  const ours = await stranger()
  const person = await town.person()
  const address = `/test/page?stay&audience=${encodeURIComponent(ours.origin)}`
  const tab = await town.tab(address, true)
  assert.equal((await tab.run('session.user()')).username, person.name)
  assert.deepEqual(await tab.run('heard'), ['start'])

  // Calls go with the cookie and with what guards it, and with no token; audiences are sent nothing.
  const call = "session.fetch('/echo/x', { method: 'POST', body: 'x' }).then(answer => answer.status)"
  const sent = () => road.to('/echo/x').at(-1)
  assert.equal(await tab.run(call), 200)
  assert.equal(bearer(sent()), undefined)
  assert.match(sent().headers['x-csrf-token'], /^1\./)
  await tab.run(`session.fetch(${JSON.stringify(`${ours.origin}/named`)}).then(answer => answer.status)`)
  const named = ours.sent.filter(({ method }) => method !== 'OPTIONS')
  assert.deepEqual(named.map(it => [it.headers.authorization, it.headers.cookie]), [[undefined, undefined]])

  // Another tab has what this one was given, and asks for nothing; when it is time, one of them refreshes.
  const before = road.refreshes().length
  const other = await town.tab(address, true)
  assert.equal((await other.run('session.user()')).username, person.name)
  assert.equal(road.refreshes().length, before)
  for (const it of [tab, other]) await it.run('clock.sleep(14 * 60_000)')
  assert.deepEqual([await tab.run(call), await other.run(call)], [200, 200])
  assert(road.refreshes().length > before)
  // It may be on its way still.
  while (road.refreshes().some(it => it.status === undefined)) assert.equal(await tab.run(call), 200)
  assert(road.refreshes().every(it => it.status === 200))

  // Whoever signs out does so in all of them, and somebody else is somebody else.
  assert.equal(await tab.run('session.logout()'), true)
  await other.until("heard.at(-1) === 'logout'")
  assert.deepEqual([await tab.run('session.user()'), await other.run('session.user()')], [null, null])
  const someone = await town.person()
  await tab.go(address)
  assert.equal((await tab.run('session.user()')).username, someone.name)
  ours.end()
})
