// Where the browser SDK is tried: a real browser with as many tabs as wanted, the gateway of the demo, and
// between them a road that counts, holds and loses what passes, and serves pages of the gateway's origin.

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, request as ask } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { assert, decoded, demo, tellsWhenLate, unique } from '../demo.mjs'
import { DevTools } from '../devtools.mjs'

export { assert, demo }

const gateway = new URL(demo.gateway)

/** Pages that hold nothing but the SDK, under a policy that allows nothing inline and nothing foreign. */
const POLICY = [
  "default-src 'none'", "script-src 'self'", "connect-src 'self' http://127.0.0.1:*", "style-src 'self'",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

const SCRIPT = `
  import { createSession } from '/assets/tegata/session.js'
  globalThis.violations = []
  addEventListener('securitypolicyviolation', event => {
    violations.push(event.violatedDirective + ' ' + event.blockedURI)
  })
  globalThis.heard = []
  const audiences = new URL(location.href).searchParams.getAll('audience')
  globalThis.session = createSession({ audiences })
  session.onStart(() => { heard.push('start') })
  session.onEnd(reason => {
    heard.push(reason)
    return location.search.includes('stay') ? false : undefined
  })
`

// Its clock passes when it is told to. What is due within a second is due in truth.
const CLOCK = `(() => {
  const [begun, later] = [Date.now(), setTimeout]
  const waiting = []
  let skipped = 0
  Date.now = () => begun + skipped
  globalThis.setTimeout = (work, wait = 0, ...rest) => {
    if (wait < 1000) return later(work, wait, ...rest)
    waiting.push({ work, at: Date.now() + wait })
    return waiting.length
  }
  globalThis.clock = {
    // A machine that sleeps: time is gone, and what was due is due all at once when it wakes.
    sleep(ms) { skipped += ms },
    // Time passes, and what is due is done.
    pass(ms) {
      const end = Date.now() + ms
      for (;;) {
        const due = waiting.filter(it => it.at <= end).sort((a, b) => a.at - b.at)[0]
        if (!due) break
        waiting.splice(waiting.indexOf(due), 1)
        skipped += Math.max(0, due.at - Date.now())
        due.work()
      }
      skipped += Math.max(0, end - Date.now())
    },
  }
})()`

/** A server that keeps what it is sent, and lets scripts of any origin send it. */
export async function stranger() {
  const sent = []
  const server = createServer((request, response) => {
    const { method, url, headers } = request
    sent.push({ method, url, headers })
    const allowed = {
      'access-control-allow-origin': headers.origin ?? '*',
      'access-control-allow-headers': headers['access-control-request-headers'] ?? '*',
      'access-control-allow-methods': 'GET, POST',
      'access-control-allow-credentials': 'true',
      connection: 'close',
    }
    if (method !== 'OPTIONS' && url.startsWith('/to/')) response.writeHead(302, { ...allowed, location: decodeURIComponent(url.slice(4)) })
    else response.writeHead(200, allowed)
    response.end('{}')
  })
  await new Promise(resolve => { server.listen(0, '127.0.0.1', resolve) })
  const origin = `http://127.0.0.1:${server.address().port}`
  return { origin, sent, end: () => { server.close(); server.closeAllConnections() } }
}

/** The road to the gateway. */
class Road {
  /** What passed, in order: requests with their answers. */
  passed = []
  /** Whether pages are what Firefox is given, which knows no word that cuts off every window from who opened it. */
  firefox = false
  /** Whether pages are given no tokens, as with `tokens.for_pages = false`. */
  bare = false
  #lost = []
  #held = []
  #closed = false
  #server

  async open() {
    this.#server = createServer((request, response) => this.#pass(request, response))
    await new Promise(resolve => { this.#server.listen(0, '127.0.0.1', resolve) })
    return this.#server.address().port
  }

  end() {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  /** Nothing passes any more, or nothing to what is under a path. */
  close(closed) {
    this.#closed = closed === true ? '/' : closed
  }

  /** Loses the answer to the next request for this path: it arrives, is done, and nobody hears of it. */
  loses(path) {
    return new Promise(resolve => { this.#lost.push({ path, resolve }) })
  }

  /** Holds the answer to the next request for this path. Answers what lets it go, once it is there; or loses it, told `lost`. */
  holds(path) {
    return new Promise(resolve => { this.#held.push({ path, resolve }) })
  }

  /** What passed to this path. */
  to(path) {
    return this.passed.filter(it => it.path === path)
  }

  /** What passed last, for whoever waits for more in vain. */
  last() {
    return this.passed.slice(-12).map(({ method, path, status }) => `${method} ${path} ${status ?? 'not answered'}`)
  }

  refreshes() {
    return this.to('/api/auth/refresh')
  }

  async #pass(request, response) {
    const parts = []
    for await (const part of request) parts.push(part)
    const { method, url, headers } = request
    const path = url.split('?')[0]
    if (path.startsWith('/test/')) return this.#page(path, url, response)
    if (this.#closed && path.startsWith(this.#closed)) return response.destroy()
    const options = { host: '127.0.0.1', port: gateway.port, method, path: url, headers: { ...headers, connection: 'close' } }
    const passing = { method, path, headers, body: undefined, status: undefined }
    this.passed.push(passing)
    const answer = await new Promise((resolve, reject) => ask(options, resolve).on('error', reject).end(Buffer.concat(parts)))
      .catch(() => undefined)
    if (!answer) return response.destroy()
    const said = []
    for await (const part of answer) said.push(part)
    Object.assign(passing, { status: answer.statusCode, body: Buffer.concat(said).toString() })
    const taken = list => {
      const index = list.findIndex(it => it.path === path)
      return index < 0 ? undefined : list.splice(index, 1)[0]
    }
    const lost = taken(this.#lost)
    if (lost) {
      response.destroy()
      return lost.resolve(passing)
    }
    const held = taken(this.#held)
    if (held && await new Promise(letGo => held.resolve(letGo)) === 'lost') return response.destroy()
    const sent = kept(answer)
    if (this.bare && ['/api/auth/login', '/api/auth/refresh'].includes(path) && answer.statusCode === 200) {
      const { access_token, token_type, ...told } = JSON.parse(passing.body)
      const { sid, sub } = decoded(access_token)
      said.splice(0, said.length, Buffer.from(JSON.stringify({ ...told, sid, sub })))
      delete sent['content-length']
    }
    if (this.firefox && sent['cross-origin-opener-policy']) sent['cross-origin-opener-policy'] = 'same-origin'
    // Browsers make a request again by themselves where a connection that was used before breaks.
    return response.writeHead(answer.statusCode, { ...sent, connection: 'close' }).end(Buffer.concat(said))
  }

  #page(path, url, response) {
    const lang = new URL(url, demo.gateway).searchParams.get('lang') ?? ''
    const page = {
      '/test/page.js': ['text/javascript', SCRIPT],
      '/test/plain': ['text/html', '<!doctype html><title>plain</title>'],
      '/test/page': ['text/html', `<!doctype html><html lang="${lang}"><title>page</title><script type="module" src="/test/page.js"></script><body>`],
    }[path]
    if (path === '/test/away') {
      const to = new URL(url, demo.gateway).searchParams
      return response.writeHead(Number(to.get('status') ?? 302), { location: to.get('to'), connection: 'close' }).end()
    }
    if (path === '/test/denied') {
      return response.writeHead(401, { 'x-content-type-options': 'nosniff', connection: 'close' }).end()
    }
    if (path === '/test/sniffed') return response.writeHead(200, { connection: 'close' }).end('{}')
    // A page that does whatever a script of it wants, and says of itself what helps it.
    if (path === '/test/hostile') {
      const headers = { 'content-type': 'text/html; charset=utf-8', 'cross-origin-opener-policy': 'same-origin', connection: 'close' }
      return response.writeHead(200, headers).end('<!doctype html><title>hostile</title><body>')
    }
    if (!page) return response.writeHead(404, { connection: 'close' }).end()
    const headers = {
      'content-type': `${page[0]}; charset=utf-8`, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store',
      'content-security-policy': POLICY, connection: 'close',
    }
    return response.writeHead(200, headers).end(page[1])
  }
}

/** The headers of an answer, as they are sent on. */
function kept(answer) {
  const { connection, 'transfer-encoding': _, ...rest } = answer.headers
  return rest
}

/** A tab. */
class Tab {
  constructor(tools, session, targetId) {
    Object.assign(this, { tools, session, targetId })
  }

  call(method, params) {
    return this.tools.call(method, params, this.session)
  }

  run(expression) {
    return this.tools.run(expression, this.session)
  }

  /** The same as if the person had just touched the page: then it may open windows. */
  async touched(expression) {
    const params = { expression, awaitPromise: true, returnByValue: true, userGesture: true }
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', params)
    assert(!exceptionDetails, exceptionDetails?.exception?.description)
    return result.value
  }

  async go(address) {
    const url = new URL(address, demo.gateway).href
    await this.call('Page.navigate', { url })
    const there = `location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`
    // Where the page before it is still there, it is asked again.
    await until(() => this.run(there).catch(() => false))
    return this
  }

  /** Answers when something is so on this page. */
  until(expression) {
    return this.run(`new Promise(resolve => {
      const look = () => ((${expression}) ? resolve() : setTimeout(look, 20))
      look()
    })`)
  }

  /** Answers when the page is at this address. */
  at(path) {
    return until(() => this.run(`location.pathname === ${JSON.stringify(path)}`).catch(() => false))
  }

  /** The page is on a screen of this size, in this time zone; where neither is said, on its own. */
  async stands({ screen: [screenWidth, screenHeight] = [0, 0], zone = '' } = {}) {
    const size = { width: 0, height: 0, deviceScaleFactor: 0, mobile: false }
    const own = screenWidth === 0
    if (own) await this.call('Emulation.clearDeviceMetricsOverride')
    else await this.call('Emulation.setDeviceMetricsOverride', { ...size, screenWidth, screenHeight })
    await this.call('Emulation.setTimezoneOverride', { timezoneId: zone })
  }

  /** The time of this page is told from the next page on. */
  clock() {
    return this.call('Page.addScriptToEvaluateOnNewDocument', { source: CLOCK })
  }

  /** Shows it at this size, light or dark. */
  async looks({ width, height, dark }) {
    const size = { width, height, deviceScaleFactor: 1, mobile: width < 600 }
    await this.call('Emulation.setDeviceMetricsOverride', size)
    const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]
    await this.call('Emulation.setEmulatedMedia', { features })
  }

  /** Presses a key that writes nothing. */
  async press(key) {
    const pressed = { key, code: key, windowsVirtualKeyCode: { Tab: 9, Escape: 27 }[key] }
    await this.call('Input.dispatchKeyEvent', { type: 'rawKeyDown', ...pressed })
    await this.call('Input.dispatchKeyEvent', { type: 'keyUp', ...pressed })
  }

  /** Keeps a picture of it, where somebody wants to look at it. */
  async picture(name) {
    const directory = process.env.TEGATA_PICTURES
    if (!directory) return
    const { data } = await this.call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true })
    await writeFile(join(directory, `${name}.png`), Buffer.from(data, 'base64'))
  }

  close() {
    return this.tools.call('Target.closeTarget', { targetId: this.targetId })
  }
}

/** Tries something with a browser, and clears up whatever becomes of it. */
export async function town(tried) {
  const road = new Road()
  const port = await road.open()
  const tools = await DevTools.start(`--host-resolver-rules=MAP localhost:${gateway.port} 127.0.0.1:${port}`)
  tellsWhenLate(() => ['not answered by the browser:', ...tools.unanswered(), 'what passed last:', ...road.last()].join('\n'))
  try {
    await tried(new Town(tools, road))
  } finally {
    await tools.end()
    road.end()
  }
}

class Town {
  constructor(tools, road) {
    Object.assign(this, { tools, road })
  }

  /** A new tab, at this address. */
  async tab(address = '/test/page', clock = false) {
    const { targetId } = await this.tools.call('Target.createTarget', { url: 'about:blank' })
    const tab = new Tab(this.tools, await this.tools.attach(targetId), targetId)
    tellsWhenLate(() => tab.run('JSON.stringify([location.href, localStorage])').catch(error => error.message))
    if (clock) await tab.clock()
    return tab.go(address)
  }

  /** Somebody new, who is signed in at a page that knows nothing of the SDK, and is closed. */
  async person() {
    const person = await this.newcomer()
    await this.signIn(person)
    return person
  }

  /** Somebody new, who is signed in nowhere. */
  async newcomer() {
    const name = unique('session').slice(0, 40)
    const password = 'a long and private phrase'
    const directory = await mkdtemp(join(tmpdir(), 'tegata-session-'))
    const file = join(directory, 'password')
    await writeFile(file, password, { mode: 0o600 })
    await tegata('user', 'add', name, '--role', 'customer', '--password-file', file)
    await rm(directory, { recursive: true })
    return { name, password }
  }

  async signIn({ name, password }) {
    const tab = await this.tab('/test/plain')
    const status = await tab.run(`fetch('/api/auth/login', {
      method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ username: ${JSON.stringify(name)}, password: ${JSON.stringify(password)} }),
    }).then(answer => answer.status)`)
    assert.equal(status, 200)
    await tab.close()
  }

  /** Signs somebody in by the form of the page, which no script has a part in. Answers with the tab at their account. */
  async signInByForm({ name, password }) {
    const tab = await this.tab('/login')
    await tab.run(`(() => {
      document.querySelector('#username').value = ${JSON.stringify(name)}
      document.querySelector('#password').value = ${JSON.stringify(password)}
      document.querySelector('form button.main').click()
    })()`)
    await until(() => tab.run(`!!document.querySelector('form[action="/oauth2/logout"]')`).catch(() => false))
    return tab
  }

  /** The cookies of the browser, with their values. */
  async cookies() {
    const { cookies } = await this.tools.call('Storage.getCookies')
    return Object.fromEntries(cookies.map(({ name, value }) => [name, value]))
  }

  /** Asks the gateway as somebody who is not this browser. */
  async elsewhere(path, headers = {}, method = 'GET') {
    const answer = await fetch(demo.gateway + path, { method, headers })
    return answer.status
  }
}

/** Runs a command against the demo. */
export async function tegata(...command) {
  const { stdout } = await promisify(execFile)(demo.program, [...command, '--data-dir', demo.data, '--format', 'json'])
  return JSON.parse(stdout)
}

/** Looks until it is so. */
export async function until(isSo) {
  while (!await isSo()) await new Promise(setImmediate)
}

/** The access token that a request carried. */
export const bearer = ({ headers }) => headers.authorization?.replace('Bearer ', '')
