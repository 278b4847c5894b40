// Answers that are lost, machines that sleep, tokens that are taken back, networks that are away: nobody is
// signed out by any of them, and whoever signs out is.

import { assert, bearer, tegata, town, until } from './town.mjs'

const post = "session.fetch('/echo/x', { method: 'POST', body: 'hello' })"
const status = `${post}.then(answer => answer.status)`

await town(async town => {
  const { road } = town
  await town.person()
  let tab = await town.tab('/test/page', true)
  await tab.run('session.user()')
  const [first] = road.refreshes()
  assert.match(first.headers['idempotency-key'], /^[0-9a-f]{48}$/)
  assert.equal(await tab.run("localStorage.getItem('tegata.attempt')"), null)

  // The machine sleeps beyond the token's end: the next call waits for a new one, however many there are.
  await tab.run('clock.sleep(25 * 60_000)')
  const calls = `Promise.all(Array.from({ length: 8 }, () => ${status}))`
  assert.deepEqual(new Set(await tab.run(calls)), new Set([200]))
  assert.equal(road.refreshes().length, 2)
  // It wakes, and nobody calls: being looked at is enough.
  await tab.run("clock.sleep(11 * 60_000); document.dispatchEvent(new Event('visibilitychange')); undefined")
  await until(() => road.refreshes().at(2)?.status === 200)
  await tab.until("localStorage.getItem('tegata.attempt') === null")
  // It is only let lie: a minute is enough.
  await tab.run('clock.pass(16 * 60_000); undefined')
  await until(() => road.refreshes().at(3)?.status === 200)
  await tab.until("localStorage.getItem('tegata.attempt') === null")

  // The answer is lost, with the cookie that it sets. The call goes by the session's cookie meanwhile, and the
  // refresh is made again under the same name, with the same cookie.
  const killed = async () => {
    await tab.run('clock.sleep(25 * 60_000)')
    const lost = road.loses('/api/auth/refresh')
    assert.equal(await tab.run(status), 200)
    assert.equal((await lost).status, 200)
    assert.equal(bearer(road.to('/echo/x').at(-1)), undefined)
    return road.refreshes().at(-1)
  }
  let lost = await killed()
  await tab.run('clock.sleep(16_000)')
  assert.equal(await tab.run(status), 200)
  let again = road.refreshes().at(-1)
  assert(again !== lost && again.status === 200)
  const named = it => [it.headers['idempotency-key'], it.headers.cookie.match(/refresh_token=([^;]*)/)[1]]
  assert.deepEqual(named(again), named(lost))
  assert(bearer(road.to('/echo/x').at(-1)))

  // The tab that lost it is gone: the one after it knows its name.
  lost = await killed()
  await tab.close()
  tab = await town.tab('/test/page', true)
  assert(await tab.run('session.user()'))
  again = road.refreshes().at(-1)
  assert.deepEqual(named(again), named(lost))
  assert.equal(again.status, 200)

  // A token is taken back while the session lives: what was refused is asked for once more, with what it carried.
  const before = bearer(road.to('/echo/x').at(-1))
  assert.equal(await tab.run(status), 200)
  const worn = bearer(road.to('/echo/x').at(-1))
  assert.notEqual(worn, before)
  await tegata('revoke', '--token', worn, '--reason', 'test', '--wait')
  const count = road.to('/echo/x').length
  const answer = await tab.run(`${post}.then(async answer => [answer.status, (await answer.json()).body])`)
  assert.deepEqual(answer, [200, 'hello'])
  assert.deepEqual(road.to('/echo/x').slice(count).map(it => it.status), [401, 200])
  // What can be read once is sent once; the next call has the new token.
  await tegata('revoke', '--token', bearer(road.to('/echo/x').at(-1)), '--reason', 'test', '--wait')
  const once = `session.fetch(new Request('/echo/x', { method: 'POST', body: 'hello' })).then(answer => answer.status)`
  assert.deepEqual([await tab.run(once), await tab.run(once)], [401, 200])
  // A 401 that is no matter of the token is handed on, however often.
  const refreshes = road.refreshes().length
  const denied = `(async () => {
    let answer
    for (let times = 0; times < 10; times += 1) answer = await session.fetch('/test/denied')
    return answer.status
  })()`
  assert.equal(await tab.run(denied), 401)
  assert(road.refreshes().length <= refreshes + 1)

  // The network is away: the session is not lost, and calls fail as they do without the SDK.
  await tab.run('clock.sleep(25 * 60_000)')
  road.close(true)
  assert.equal(await tab.run(`${status}.catch(error => error.name)`), 'TypeError')
  assert.deepEqual(await tab.run('heard'), ['start'])
  road.close(false)
  await tab.run("dispatchEvent(new Event('online')); undefined")
  assert.equal(await tab.run(status), 200)
  assert(await tab.run('session.user()'))

  // A page that is loaded while the server is away does not take that for an answer, and looks again by itself.
  await tab.run('clock.sleep(25 * 60_000)')
  road.close('/api/auth/')
  const blind = await town.tab('/test/page', true)
  assert.equal(await blind.run('session.ready.then(() => session.user()).catch(error => error.name)'), 'TypeError')
  assert.equal(await blind.run("session.fetch('/echo/x').then(answer => answer.status)"), 200)
  assert.deepEqual(await blind.run('heard'), [])
  road.close(false)
  // The others leave the server alone as well, but for no longer than one can want.
  const asked = road.refreshes().length
  const patient = await town.tab('/test/page', true)
  await patient.run('session.ready')
  assert.equal(road.refreshes().length, asked)
  await patient.close()
  await blind.run('clock.pass(61_000); undefined')
  await blind.until("heard[0] === 'start'")
  assert(await blind.run('session.user()'))
  await blind.close()
  const misled = await town.tab('/test/plain')
  await misled.run("localStorage.removeItem('tegata.due'); localStorage.setItem('tegata.rests', Date.now() + 9e9)")
  await misled.go('/test/page')
  await misled.until("heard[0] === 'start'")
  assert.equal(await misled.run("localStorage.getItem('tegata.rests')"), null)
  // What one tab has written is seen by the others a little later.
  await tab.until("localStorage.getItem('tegata.due') && !localStorage.getItem('tegata.rests')")
  await misled.close()

  // Whoever signs out is signed out here whatever the network does; and everywhere as soon as it is back. Nothing is
  // left of a refresh that was under way.
  const held = road.holds('/api/auth/refresh')
  await tab.run("clock.sleep(25 * 60_000); document.dispatchEvent(new Event('visibilitychange')); undefined")
  const underWay = await held
  road.close(true)
  assert.equal(await tab.run('session.logout()'), false)
  assert.equal(await tab.run('session.user()'), null)
  underWay('lost')
  road.close(false)
  const live = await town.cookies()
  assert(live.session_id)
  const next = await town.tab('/test/page')
  assert.equal(await next.run('session.user()'), null)
  assert.deepEqual(await next.run('heard'), [])
  assert.equal((await town.cookies()).session_id, undefined)
  // What another tab has removed is gone here a little later.
  await next.until("localStorage.length === 0")
  assert.equal(await town.elsewhere('/api/auth/session', { cookie: `session_id=${live.session_id}` }), 401)

  // Nor is anybody signed in by a refresh that was on its way when they signed out. Tabs that come to light as
  // others are closed would refresh, too.
  for (const open of [tab, next]) await open.close()
  await town.person()
  const hasty = await town.tab('/test/plain')
  const made = road.refreshes().length
  const left = await hasty.run(`import('/assets/tegata/session.js').then(async ({ createSession }) => {
    const session = createSession()
    const told = await session.logout()
    await session.ready
    return [told, await session.user()]
  })`)
  assert.deepEqual(left, [true, null])
  assert.equal(road.refreshes().length, made)
  assert.equal((await town.cookies()).session_id, undefined)

  // Nor where it was not yet known who they are, and nobody could be told.
  await hasty.close()
  await town.person()
  road.close('/api/auth/')
  const early = await town.tab()
  assert.equal(await early.run('session.logout()'), false)
  assert.equal(await early.run('session.user()'), null)
  road.close(false)
  const after = await town.tab()
  assert.equal(await after.run('session.user()'), null)
  assert.equal((await town.cookies()).session_id, undefined)
  assert.equal(await after.run("localStorage.getItem('tegata.out')"), null)

  // The sign-in page is of this origin, whatever the page takes for its base.
  const led = `import('/assets/tegata/session.js').then(({ createSession }) => createSession({ login: '//other.example/login' }))`
  assert.equal(await after.run(`${led}.catch(error => error.name)`), 'TypeError')
})
