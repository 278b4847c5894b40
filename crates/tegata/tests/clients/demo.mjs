// The demo that a script is run against, and what every script does with it.
//
// node SCRIPT CONTEXT, where CONTEXT is a file: what `tegata demo --describe` wrote, and beside it
// `modules` (where the libraries are), `program` (tegata) and `data` (the demo's directory).

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

assert(globalThis.crypto, 'this needs node 20 or later')

// Whoever waits for something that does not come says so, and what was there instead.
const LONGEST = 120_000
const seen = []
setTimeout(async () => {
  const late = () => new Promise(resolve => { setTimeout(resolve, 5_000, 'and nothing is to be seen') })
  const told = await Promise.all(seen.map(it => Promise.race([it(), late()])))
  throw new Error(['this takes too long', ...told].join('\n'))
}, LONGEST).unref()

/** Has this tell what is to be seen, should a script take too long. */
export const tellsWhenLate = it => seen.push(it)

export { assert }
export const demo = JSON.parse(await readFile(process.argv[2], 'utf8'))
export const library = (name, file = 'build/index.js') => import(`${demo.modules}/${name}/${file}`)

// Registered by every client here. Nothing listens there: a browser stops before it.
export const CALLBACK = 'http://127.0.0.1:9999/callback'
export const alice = demo.users.find(user => user.username === 'alice')
export const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

export const described = id => demo.clients.find(client => client.client_id === id)
export const decoded = (jwt, part = 1) => JSON.parse(Buffer.from(jwt.split('.')[part], 'base64url'))

/** A name that no other script uses. */
export const unique = name => `${name}-${randomUUID()}`

/** Declares a client in a file, as an operator does, and answers what it was declared with. */
export async function declare(settings) {
  const { jwks, ...plain } = { client_id: unique('declared'), redirect_uris: [CALLBACK], ...settings }
  const line = ([key, value]) => `${key} = ${JSON.stringify(value)}`
  const keys = (jwks?.keys ?? []).map(key => ['[[client.jwks.keys]]', ...Object.entries(key).map(line)])
  await apply(['[[client]]', ...Object.entries(plain).map(line), ...keys.flat(), ''].join('\n'))
  return plain
}

/** Somebody of a script's own, whose sessions no other script ends by signing in too often. */
export async function somebody() {
  const [username, password] = [unique('somebody'), unique('a long and private phrase')]
  await apply(`[[user]]\nusername = "${username}"\npassword = "${password}"\n`)
  return { username, password }
}

/** Has something declared, as an operator does. */
async function apply(text) {
  const directory = await mkdtemp(join(tmpdir(), 'tegata-clients-'))
  try {
    const file = join(directory, 'declared.toml')
    await writeFile(file, text, { mode: 0o600 })
    await promisify(execFile)(demo.program, ['apply', file, '--data-dir', demo.data])
  } finally {
    await rm(directory, { recursive: true })
  }
}

/** A pair of keys, and the public one as a client declares or publishes it. */
export async function signingKey(algorithm = { name: 'ECDSA', namedCurve: 'P-256' }, alg = 'ES256') {
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const { kty, crv, x, y, n, e } = await crypto.subtle.exportKey('jwk', pair.publicKey)
  const jwk = JSON.parse(JSON.stringify({ kid: randomUUID(), alg, use: 'sig', kty, crv, x, y, n, e }))
  return { key: pair.privateKey, kid: jwk.kid, jwks: { keys: [jwk] } }
}

/** A server of the client's own, on a port that the system gives. */
export async function listen(answer) {
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', part => { body += part })
    request.on('end', () => answer({ request, body }, response))
  })
  await new Promise(resolve => { server.listen(0, '127.0.0.1', resolve) })
  const address = `http://127.0.0.1:${server.address().port}`
  const close = () => { server.close(); server.closeAllConnections() }
  return { address, close }
}

/** It keeps cookies, follows redirects until they leave the issuer, and fills forms in. */
export class Browser {
  #cookies = []

  /** Goes to an address. Answers what is shown there, or where it leads outside. */
  async visit(address, body) {
    let url = new URL(address, demo.issuer)
    for (let steps = 0; steps < 10; steps += 1) {
      if (url.origin !== demo.issuer) return { left: url }
      const headers = { cookie: this.#sent(url.pathname), 'user-agent': 'Mozilla/5.0 Firefox/140.0' }
      if (body) Object.assign(headers, { origin: demo.issuer, 'sec-fetch-site': 'same-origin' })
      const answer = await fetch(url, { method: body ? 'POST' : 'GET', body, headers, redirect: 'manual' })
      answer.headers.getSetCookie().forEach(line => this.#keep(line))
      const { status } = answer
      if (status < 300 || status >= 400) return { status, page: await answer.text() }
      url = new URL(answer.headers.get('location'), url)
      body = undefined
    }
    throw new Error(`redirects without end: ${url.pathname}`)
  }

  /** Sends the form of a page with its hidden fields and these. */
  async submit(page, fields) {
    const form = tags(page, 'form').find(tag => attribute(tag, 'method') === 'post')
    assert(form, `a page without a form: ${page}`)
    const all = new URLSearchParams()
    for (const tag of tags(page, 'input')) {
      if (attribute(tag, 'type') === 'hidden') all.append(attribute(tag, 'name'), attribute(tag, 'value'))
    }
    for (const [name, value] of Object.entries(fields)) all.append(name, value)
    return this.visit(attribute(form, 'action'), all)
  }

  /** Answers an authorization request: signs in and agrees where it is asked. */
  async authorize(address) {
    let at = await this.visit(address)
    for (let pages = 0; pages < 4 && at.page; pages += 1) {
      assert.equal(at.status, 200, at.page)
      const asks = tags(at.page, 'input').some(tag => attribute(tag, 'name') === 'password')
      const { username, password } = alice
      at = await this.submit(at.page, asks ? { username, password } : { decision: 'allow' })
    }
    assert(at.left?.href.startsWith(CALLBACK), `not sent to the callback: ${at.left ?? at.page}`)
    return at.left
  }

  /** Answers a device: signs in, looks at its code and decides. */
  async device(address, { username, password }, decision) {
    let at = await this.visit(address)
    for (let pages = 0; pages < 4; pages += 1) {
      assert.equal(at.status, 200, at.page)
      const typed = name => tags(at.page, 'input').find(tag =>
        attribute(tag, 'name') === name && attribute(tag, 'type') !== 'hidden')
      if (typed('username')) at = await this.submit(at.page, { username, password })
      else if (typed('user_code')) {
        at = await this.submit(at.page, { user_code: attribute(typed('user_code'), 'value') })
      } else {
        const proof = typed('password') ? { password } : {}
        at = await this.submit(at.page, { ...proof, decision })
        assert.equal(at.status, 200, at.page)
        return
      }
    }
    throw new Error(`nobody was asked about the device: ${at.page}`)
  }

  #sent(path) {
    const fits = cookie => path === cookie.path || path.startsWith(cookie.path.replace(/\/?$/, '/'))
    return this.#cookies.filter(fits).map(({ name, value }) => `${name}=${value}`).join('; ')
  }

  #keep(line) {
    const [pair, ...attributes] = line.split('; ')
    const [name, ...value] = pair.split('=')
    const path = attributes.find(it => it.startsWith('Path='))?.slice(5) ?? '/'
    this.#cookies = this.#cookies.filter(cookie => cookie.name !== name)
    if (!attributes.includes('Max-Age=0')) this.#cookies.push({ name, value: value.join('='), path })
  }
}

const tags = (page, name) => page.match(new RegExp(`<${name} [^>]*>`, 'g')) ?? []

function attribute(tag, name) {
  const value = tag.match(new RegExp(` ${name}="([^"]*)"`))?.[1]
  return value?.replace(/&#(\d+);/g, (_, code) => String.fromCodePoint(code)).replaceAll('&amp;', '&')
}
