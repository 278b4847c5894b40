// A page with the session's CSRF token in its head: the SDK takes it from there, and asks the server for none.

import { assert, town } from './town.mjs'

const META = 'document.querySelector(\'meta[name="csrf-token"]\')?.content'

await town(async town => {
  const { road } = town
  const person = await town.newcomer()
  const asked = () => road.to('/api/auth/csrf').length
  const posted = at => at.run("session.fetch('/echo/x', { method: 'POST', body: 'x' }).then(answer => answer.status)")
  const begins = at => at.run(`import('/assets/tegata/session.js').then(async ({ createSession }) => {
    globalThis.session = createSession()
    return (await session.user())?.username
  })`)

  // The page of the account has it. What changes something goes with it, and so does the refresh.
  const tab = await town.signInByForm(person)
  const token = await tab.run(META)
  assert.match(token, /^1\./)
  assert.equal(await begins(tab), person.name)
  const [refresh] = road.refreshes()
  assert.deepEqual([refresh.status, refresh.headers['x-csrf-token']], [200, token])
  assert.equal(await posted(tab), 200)
  assert.equal(asked(), 0)
  assert.equal(await tab.run('session.logout()'), true)
  assert.equal(asked(), 0)
  await tab.close()

  // One that is left of another session does not count: then it is asked for, and nothing is lost.
  const again = await town.newcomer()
  const page = await town.signInByForm(again)
  const stale = `(() => { document.querySelector('meta[name="csrf-token"]').content = ${JSON.stringify(token)} })()`
  await page.run(stale)
  const before = road.refreshes().length
  assert.equal(await begins(page), again.name)
  assert.deepEqual(road.refreshes().slice(before).map(({ status }) => status), [403, 200])
  assert.equal(asked(), 1)
  assert.equal(await posted(page), 200)
  await page.close()

  // Where a page has none, it is asked for once.
  const plain = await town.tab('/test/page')
  assert.equal(await plain.run(META), undefined)
  assert.equal((await plain.run('session.user()')).username, again.name)
  assert.equal(await posted(plain), 200)
  assert.equal(asked(), 2)
})
