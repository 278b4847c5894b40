// What a hostile script of the page can take, and what it cannot; and where requests carry what.

import { assert, bearer, demo, stranger, town } from './town.mjs'

// Keeps whatever strings come by: arguments, objects, answers.
const PATCHES = `(() => {
  globalThis.loot = []
  const apply = Reflect.apply
  const { get: textOf } = Object.getOwnPropertyDescriptor(XMLHttpRequest.prototype, 'responseText')
  const { get: headersOf } = Object.getOwnPropertyDescriptor(Request.prototype, 'headers')
  const getHeader = Headers.prototype.get, cloneOf = Response.prototype.clone, read = Response.prototype.text
  const then = Promise.prototype.then
  let busy = false
  const keep = it => {
    if (busy) return
    busy = true
    try {
      if (typeof it === 'string') loot[loot.length] = it
      else if (it instanceof XMLHttpRequest) loot[loot.length] = apply(textOf, it, [])
      else if (it instanceof Request) loot[loot.length] = String(apply(getHeader, apply(headersOf, it, []), ['authorization']))
      else if (it instanceof Headers) loot[loot.length] = String(apply(getHeader, it, ['authorization']))
      else if (it instanceof Response) apply(then, apply(read, apply(cloneOf, it, []), []), [text => { loot[loot.length] = text }])
      else if (it instanceof Promise) apply(then, it, [keep, () => {}])
      else if (it && typeof it === 'object') for (const name in it) if (typeof it[name] === 'string') loot[loot.length] = it[name]
    } catch {} finally { busy = false }
  }
  const spy = (of, name) => {
    const own = Object.getOwnPropertyDescriptor(of, name)
    if (!own?.configurable) return
    const around = inner => function (...rest) {
      keep(this); for (let i = 0; i < rest.length; i += 1) keep(rest[i])
      const result = new.target ? Reflect.construct(inner, rest, new.target) : apply(inner, this, rest)
      keep(result)
      return result
    }
    if (typeof own.value === 'function') Object.defineProperty(of, name, { ...own, value: around(own.value) })
    else if (own.get) Object.defineProperty(of, name, { ...own, get: around(own.get), set: own.set && around(own.set) })
  }
  for (const of of [XMLHttpRequest, Headers, Request, Response, String, Array, Promise, Map, BroadcastChannel, Storage, URL]) {
    for (const name of Reflect.ownKeys(of.prototype)) if (name !== 'constructor') spy(of.prototype, name)
  }
  for (const name of ['call', 'apply', 'bind']) spy(Function.prototype, name)
  for (const name of ['parse', 'stringify']) spy(JSON, name)
  for (const name of ['apply', 'defineProperty', 'get', 'set', 'construct']) spy(Reflect, name)
  for (const name of ['fetch', 'atob', 'setTimeout', 'XMLHttpRequest', 'Headers', 'Promise', 'URL']) spy(globalThis, name)
  for (const name of ['then', 'value', 'get', 'set', 'token', 'access_token', 'authorization', 'redirect', 'headers', 'signal']) {
    const put = value => function () { keep(this); return value }
    if (name === 'get' || name === 'set' || name === 'value') continue
    Object.defineProperty(Object.prototype, name, { configurable: true, get: put(undefined), set(it) { keep(it); keep(this); Object.defineProperty(this, name, { value: it, writable: true, configurable: true, enumerable: true }) } })
  }
  Object.defineProperty(Promise.prototype, 'constructor', { configurable: true, get() { keep(this); return class extends Promise {} } })
})()`

// Walks all that can be reached from the globals and the SDK's own object, and all that is stored.
const SEARCH = `(async () => {
  const seen = new Set(), found = []
  const walk = (it, depth) => {
    if (typeof it === 'string') found.push(it)
    if (it === null || (typeof it !== 'object' && typeof it !== 'function') || seen.has(it) || depth > 6) return
    seen.add(it)
    for (const key of Reflect.ownKeys(it)) {
      const own = Object.getOwnPropertyDescriptor(it, key)
      if (own && 'value' in own) walk(own.value, depth + 1)
      else if (own?.get) { try { walk(own.get.call(it), depth + 1) } catch {} }
    }
    walk(Object.getPrototypeOf(it), depth + 1)
    if (typeof it === 'function') found.push(Function.prototype.toString.call(it))
  }
  walk(session, 0); walk(globalThis, 0); walk(await import('/assets/tegata/native.js'), 0)
  walk(await import('/assets/tegata/session.js'), 0)
  found.push(JSON.stringify({ ...localStorage }), JSON.stringify({ ...sessionStorage }), document.cookie, location.href, name)
  found.push(document.documentElement.outerHTML, JSON.stringify(history.state), JSON.stringify(performance.getEntries()))
  found.push(JSON.stringify(await indexedDB.databases()), JSON.stringify(await caches.keys()))
  return found
})()`

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

  // Nothing of it lies anywhere.
  let known = await secrets()
  await tab.run(`globalThis.known = { deep: [{ name: ${JSON.stringify(person.name)} }] }; undefined`)
  let found = await tab.run(SEARCH)
  assert(found.length > 1000)
  assert(holds(found, person.name), 'the search finds what is there')
  for (const [name, secret] of Object.entries(known)) assert(!holds(found, secret), `${name} was found`)

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

  // Nothing goes elsewhere: not asked for, not by a redirect, not by an object that says one address and then
  // another.
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
    assert(!/authorization|csrf/i.test(headers['access-control-request-headers'] ?? ''), url)
  }
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
  const taken = await tab.run(`(async () => {
    const json = answer => answer.json()
    const { csrf_token } = await fetch('/api/auth/csrf').then(json)
    const { access_token, expires_in } = await fetch('/api/auth/refresh', {
      method: 'POST', headers: { 'X-CSRF-Token': csrf_token },
    }).then(json)
    return { csrf_token, access_token, expires_in, cookie: document.cookie }
  })()`)
  assert(taken.expires_in <= 900)
  assert.equal(taken.cookie, '')
  const shown = { authorization: `Bearer ${taken.access_token}` }
  assert.equal(await town.elsewhere('/echo/x', shown), 200)
  // With all that it took, somebody elsewhere gets nothing that lasts longer: no session, no other token.
  const all = { ...shown, 'x-csrf-token': taken.csrf_token, origin: demo.gateway }
  assert.equal(await town.elsewhere('/api/auth/refresh', all, 'POST'), 401)
  assert.equal(await town.elsewhere('/api/auth/session', all), 401)
  assert.equal(await town.elsewhere('/api/auth/csrf', all), 401)
  // And when the person signs out, that is over too.
  assert.equal(await tab.run('session.logout()'), true)
  assert.equal(await town.elsewhere('/echo/x', shown), 401)
  other.end()
  ours.end()
})
