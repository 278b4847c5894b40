// ajv: administration, driven by its document alone. Every answer is held against what is said of it.

import { assert, declare, demo, unique } from './demo.mjs'

const from = path => import(`${demo.validators}/${path}`)
const { default: Ajv } = await from('ajv/dist/2020.js')
const { default: formats } = await from('ajv-formats/dist/index.js')
const { Validator } = await from('@seriousme/openapi-schema-validator/index.js')

const fetched = await fetch(`${demo.issuer}/admin/v1/openapi.json`)
assert.equal(fetched.headers.get('content-type'), 'application/json')
const api = await fetched.json()
const read = await new Validator().validate(structuredClone(api))
assert(read.valid, JSON.stringify(read.errors))

// Nothing may be answered of which the document says nothing.
function close(schema) {
  if (schema && typeof schema === 'object') {
    if (schema.properties) schema.additionalProperties ??= false
    Object.values(schema).forEach(close)
  }
}
close(api)

const ajv = new Ajv.default({ strict: false, allErrors: true })
formats.default(ajv)
ajv.addSchema(api, 'api')
const pointer = parts => parts.map(part => part.replaceAll('~', '~0').replaceAll('/', '~1')).join('/')
function fits(parts, value) {
  const valid = ajv.getSchema(`api#/${pointer(parts)}`)
  assert(valid, parts.join(' '))
  assert(valid(value), `${parts.join(' ')}: ${JSON.stringify(valid.errors)} ${JSON.stringify(value)}`)
}

const operations = new Map()
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, told] of Object.entries(methods)) operations.set(told.operationId, { path, method, told })
}

const { client_id: id, client_secret: secret } = await declare({
  client_secret: unique('a secret'), redirect_uris: [], grant_types: ['client_credentials'],
  scope: 'admin.read admin.write', audiences: [`${demo.issuer}/admin/v1`],
})
const asked = await fetch(`${demo.issuer}/oauth2/token`, {
  method: 'POST',
  headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
  body: new URLSearchParams({ grant_type: 'client_credentials' }),
})
const { access_token: token } = await asked.json()

const called = new Set()

/** Calls an operation, which must be answered with this status, as the document says. */
async function call(name, status, { names = {}, query = '', body, tag, type, bearer = token } = {}) {
  const { path, method, told } = operations.get(name)
  const place = path.replace(/\{(\w+)\}/g, (_, part) => encodeURIComponent(names[part]))
  const headers = { authorization: `Bearer ${bearer}` }
  if (tag) headers['if-match'] = tag
  if (body !== undefined) headers['content-type'] = type ?? 'application/json'
  const at = ['paths', path, method]
  if (body !== undefined && status < 300) {
    fits([...at, 'requestBody', 'content', 'application/json', 'schema'], body)
  }
  const answer = await fetch(demo.issuer + place + query, {
    method: method.toUpperCase(), headers, body: body === undefined ? undefined : JSON.stringify(body),
  })
  const text = await answer.text()
  assert.equal(answer.status, status, `${name}: ${text}`)
  called.add(name)
  if (status >= 300) {
    assert.equal(answer.headers.get('content-type'), 'application/problem+json')
    fits(['components', 'responses', 'Problem', 'content', 'application/problem+json', 'schema'], JSON.parse(text))
    return JSON.parse(text)
  }
  const good = told.responses[status]
  assert(good, `${name} says nothing of ${status}`)
  assert.equal(answer.headers.has('etag'), 'ETag' in (good.headers ?? {}), name)
  if (!good.content) {
    assert.equal(text, '', name)
    return undefined
  }
  fits([...at, 'responses', String(status), 'content', 'application/json', 'schema'], JSON.parse(text))
  return { ...JSON.parse(text), tag: answer.headers.get('etag') }
}

// People.
const username = unique('person')
const password = 'a long and private phrase'
const user = await call('addUser', 201, { body: { username, password, roles: ['staff'], email: 'a@b.example' } })
const names = { id: user.id }
assert.equal((await call('listUsers', 200, { query: `?username=${username}` })).items.length, 1)
const shown = await call('showUser', 200, { names })
const changed = await call('changeUser', 200, { names, tag: shown.tag, body: { email: null, locale: 'ja' } })
assert.deepEqual([changed.email, changed.locale], [null, 'ja'])
await call('changeUser', 412, { names, tag: shown.tag, body: { locale: 'en' } })
await call('changeUser', 400, { names, body: { roles: 'staff', more: 1 } })
await call('showSecondFactors', 200, { names })
await call('resetSecondFactors', 200, { names })

// What a sign-in leaves.
const signIn = () => fetch(`${demo.issuer}/api/auth/login`, {
  method: 'POST', headers: { 'content-type': 'application/json', origin: demo.issuer },
  body: JSON.stringify({ username, password }),
})
const { access_token: theirs } = await (await signIn()).json()
const session = (await call('listSessions', 200, { query: `?user=${user.id}` })).items[0]
await call('showSession', 200, { names: { sid: session.sid } })
assert.equal((await call('listTokens', 200, { query: `?user=${user.id}` })).items[0].session_id, session.sid)
for (const asked of [theirs, token]) {
  assert.equal((await call('inspectToken', 200, { body: { token: asked } })).standing, 'valid')
}
await call('revoke', 200, { query: '?wait=confirmed', body: { token: theirs, reason: 'tried' } })
assert.match((await call('inspectToken', 200, { body: { token: theirs } })).standing, /revoked/)
await call('inspectToken', 400, { body: { token: 'none' } })
const { jti } = JSON.parse(Buffer.from(theirs.split('.')[1], 'base64url'))
const traced = await call('traceToken', 200, { names: { jti } })
assert.equal(traced.issued.sub, user.id)
assert.equal(traced.revoked[0].reason, 'tried')
await call('traceToken', 404, { names: { jti: '1.none' } })
await call('revoke', 400, { body: { reason: 'names nothing' } })
await call('endSession', 200, { names: { sid: session.sid }, query: '?wait=confirmed' })
await call('showSession', 404, { names: { sid: session.sid } })
await signIn()
await call('setPassword', 204, { names, body: { password: 'another long phrase' } })
await call('revokeUser', 200, { names, query: '?wait=confirmed', body: { reason: 'tried' } })

// Clients and services.
const client = { client_id: unique('client'), grant_types: ['client_credentials'], scope: 'orders.read' }
assert((await call('addClient', 201, { body: client })).client_secret)
await call('addClient', 409, { body: client })
const one = { id: client.client_id }
assert(!('client_secret' in await call('showClient', 200, { names: one })))
const named = await call('changeClient', 200, { names: one, body: { client_name: 'Named', scope: null } })
await call('changeClient', 200, { names: one, tag: named.tag, body: { audiences: ['orders'] } })
await call('changeClient', 403, { names: { id }, body: { client_name: 'Other' } })
await call('rotateClientSecret', 200, { names: one })
await call('removeClient', 200, { names: one })
await call('showClient', 404, { names: one })
for (const listed of ['listClients', 'listServices', 'listTokens', 'listSessions', 'listConsents']) {
  const { items, next } = await call(listed, 200, { query: '?limit=1' })
  if (next) await call(listed, 200, { query: `?limit=1&cursor=${next}` })
  assert(items.length <= 1)
}
const service = unique('svc')
const upstreams = ['http://127.0.0.1:9']
await call('addService', 201, { body: { name: service, upstreams } })
await call('showService', 200, { names: { name: service } })
await call('changeService', 200, { names: { name: service }, body: { roles: ['staff'] } })

// API keys of the service: told once, replaced, taken back.
const wantedKey = {
  client: service, name: 'nightly', scope: 'stock.read', roles: ['worker'], services: [service],
  routes: [`/${service}`], lifetime: '90d',
}
const firstKey = await call('createApiKey', 201, { body: wantedKey })
assert.match(firstKey.api_key, /^sk_[0-9A-Za-z]{8}\.[0-9A-Za-z]{32}$/)
assert.equal(firstKey.standing, 'active')
const toldKey = await call('showApiKey', 200, { names: { id: firstKey.id } })
const { items: ofService } = await call('listApiKeys', 200, { query: `?client=${service}` })
assert.deepEqual(ofService.map(key => key.id), [toldKey.id])
assert(!JSON.stringify([toldKey, ofService]).includes(firstKey.api_key.slice(12)))
const newKey = await call('rotateApiKey', 200, { names: { id: firstKey.id }, body: { grace: '1h' } })
assert.equal(newKey.replaces, firstKey.id)
await call('rotateApiKey', 409, { names: { id: firstKey.id }, body: {} })
await call('rotateApiKey', 400, { names: { id: newKey.id }, body: { grace: '1s' } })
await call('revokeApiKey', 200, { names: { id: firstKey.id }, query: '?wait=confirmed' })
assert.equal((await call('showApiKey', 200, { names: { id: firstKey.id } })).standing, 'revoked')
await call('revokeApiKey', 404, { names: { id: 'zzzzzzzz' } })
for (const wrong of [{ client: 'nobody-knows' }, { scope: 'admin.write' }, { services: ['nowhere'] }, { lifetime: '20000d' }]) {
  await call('createApiKey', 400, { body: { ...wantedKey, ...wrong } })
}
await call('removeService', 200, { names: { name: service } })
assert.equal((await call('showApiKey', 200, { names: { id: newKey.id } })).reason, 'service_removed')

// Keys and consents.
const { items: keys } = await call('listKeys', 200)
await call('rotateKeys', 200, { body: { algorithm: 'EdDSA', force: true } })
await call('rotateKeys', 409, { body: { algorithm: 'EdDSA' } })
await call('retireKey', 409, { names: { kid: keys.find(key => key.state === 'current').kid } })
await call('withdrawConsent', 404, { names: { user: user.id, client: 'demo-web' } })

// Who may not, and what cannot be read.
for (const name of operations.keys()) {
  const { path, told } = operations.get(name)
  const names = Object.fromEntries([...path.matchAll(/\{(\w+)\}/g)].map(([, part]) => [part, 'x']))
  await call(name, 401, { names, bearer: 'x', body: told.requestBody && {} })
}
await call('addUser', 415, { body: {}, type: 'text/plain' })
await call('listUsers', 400, { query: '?limit=0&wait=confirmed' })
assert.deepEqual([...called].sort(), [...operations.keys()].sort())
