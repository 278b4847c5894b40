// What the SDK says of its browser, and to whom; that nobody is signed out by it; and that a copied cookie is refused.

import { assert, demo, stranger, town } from './town.mjs'

const HINTS = 'x-device-hints'

/** The 32-bit FNV-1a digest of a text. */
const digest = text => [...text].reduce((hash, letter) => {
  const mixed = (hash ^ BigInt(letter.charCodeAt(0))) * 0x01000193n
  return mixed & 0xffffffffn
}, 0x811c9dc5n).toString(16).padStart(8, '0')

await town(async town => {
  const { road } = town
  const [other, ours] = [await stranger(), await stranger()]
  const person = await town.newcomer()
  const address = `/test/page?stay&audience=${encodeURIComponent(ours.origin)}`
  const own = path => tab.run(`session.fetch('${path}', { method: 'POST', body: 'x' }).then(answer => answer.status)`)
  const user = async at => (await at.run('session.user()'))?.username

  // By the form, nothing is said of the browser but what every browser says of itself.
  const tab = await town.signInByForm(person)
  assert(road.passed.length > 2 && road.passed.every(({ headers }) => headers[HINTS] === undefined))

  // Then each call of the SDK says it, and the session remembers it; to nobody else is it said.
  const before = road.passed.length
  await tab.go(address)
  assert.equal(await user(tab), person.name)
  assert.equal(await own('/echo/x'), 200)
  const calls = road.passed.slice(before).filter(({ path }) => /^[/](api[/]auth|echo)[/]/.test(path))
  assert(calls.length >= 3, calls.map(({ path }) => path).join())
  const { sides, depth, zone, plugins } = await tab.run(`({
    sides: [screen.width, screen.height].sort((a, b) => b - a).join('x'), depth: screen.colorDepth,
    zone: Intl.DateTimeFormat().resolvedOptions().timeZone, plugins: [...navigator.plugins].map(it => it.name).join(),
  })`)
  const said = `screen=${sides}x${depth},tz=${zone},plugins=${digest(plugins)}`
  for (const { path, headers } of calls) assert.equal(headers[HINTS], said, path)
  const quoted = JSON.stringify
  const fetched = to => tab.run(`session.fetch(${quoted(to)}).then(answer => answer.status)`)
  for (const to of [`${other.origin}/plain`, `${ours.origin}/named`, `/test/away?to=${encodeURIComponent(`${other.origin}/away`)}`]) {
    assert.equal(await fetched(to), 200, to)
  }
  assert(other.sent.length >= 2 && ours.sent.length >= 1)
  for (const { url, headers } of [...other.sent, ...ours.sent]) {
    assert.equal(headers[HINTS], undefined, url)
    assert(!/device/i.test(headers['access-control-request-headers'] ?? ''), url)
  }

  // A phone that is turned is the same.
  const hints = () => tab.run("import('/assets/tegata/hints.js').then(it => it.hints())")
  await tab.stands({ screen: [412, 915] })
  const upright = await hints()
  assert.match(upright, /^screen=915x412x/)
  await tab.stands({ screen: [915, 412] })
  assert.equal(await hints(), upright)
  await tab.stands()
  assert.equal(await hints(), said)

  // A second screen, and then a journey: the cookie is asked for by calls that have no token.
  for (const place of [{ screen: [2560, 1440] }, {}, { zone: 'Asia/Tokyo' }, {}]) {
    const moved = await town.tab('/test/plain')
    await moved.stands(place)
    await moved.go(address)
    assert.equal(await user(moved), person.name, quoted(place))
    const shown = road.to('/api/auth/session').at(-1)
    assert.equal(shown.status, 200)
    assert.equal(shown.headers[HINTS] === said, Object.keys(place).length === 0, quoted(place))
    assert.deepEqual(await moved.run('heard'), ['start'])
    // What no script has a hand in says nothing of it, and what a script sends by itself.
    await moved.go('/login')
    assert.equal(await moved.run(`!!document.querySelector('form[action="/oauth2/logout"]')`), true)
    assert.equal(await moved.run("fetch('/api/auth/session').then(answer => answer.status)"), 200)
    await moved.close()
  }

  // A copy of the cookie, in the same network.
  await tab.go(address)
  assert.equal(await user(tab), person.name)
  const { headers: mine } = road.to('/api/auth/session').at(-1)
  assert.equal(mine[HINTS], said)
  const names = ['cookie', 'user-agent', 'accept-language', 'accept-encoding', HINTS]
  const copied = async change => {
    const all = { ...Object.fromEntries(names.map(name => [name, mine[name]])), ...change }
    const shown = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
    const found = new Set()
    for (const path of ['/api/auth/session', '/echo/x']) found.add(await town.elsewhere(path, shown))
    return [...found]
  }
  const elsewhere = 'screen=1366x768x24,tz=America/Lima,plugins=00000000'
  // Whoever says all as the owner does cannot be told from them, nor who says no hints and all else.
  assert.deepEqual(await copied({}), [200])
  assert.deepEqual(await copied({ [HINTS]: undefined }), [200])
  assert.deepEqual(await copied({ [HINTS]: elsewhere }), [401])
  assert.deepEqual(await copied({ [HINTS]: undefined, 'accept-language': 'is' }), [401])
  assert.deepEqual(await copied({ [HINTS]: `tz=${zone}`, 'accept-language': 'is' }), [401])
  // The owner is not signed out by any of it.
  await tab.go(address)
  assert.equal(await user(tab), person.name)
  assert.equal(await tab.run('session.logout()'), true)
  assert.deepEqual(await copied({}), [401])
  assert.equal(await town.elsewhere('/api/auth/session', { origin: demo.gateway }), 401)
  other.end()
  ours.end()
})
