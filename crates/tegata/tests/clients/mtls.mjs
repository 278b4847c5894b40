// openid-client and oauth4webapi: certificates prove who a client is, and tokens are theirs alone who
// show the certificate. What the library sends goes over connections of node's own TLS.

import { request as send } from 'node:https'

import { Browser, CALLBACK, assert, decoded, demo, library } from './demo.mjs'
import { openid, signIn } from './openid.mjs'

const oauth = await library('oauth4webapi')
const issuer = new URL(demo.issuer)

/** What fetches over connections that show a certificate, each anew, or none. */
const showing = identity => async (url, { body, headers, method = 'GET' } = {}) => {
  const options = { ...identity, agent: false, method, headers: Object.fromEntries(new Headers(headers)) }
  const answer = await new Promise((resolve, reject) => {
    const sent = send(url, options, resolve)
    sent.on('error', reject)
    sent.end(body?.toString())
  })
  const parts = []
  for await (const part of answer) parts.push(part)
  const { statusCode: status, rawHeaders: raw } = answer
  const pairs = raw.flatMap((name, at) => (at % 2 ? [] : [[name, raw[at + 1]]]))
  return new Response(parts.length ? Buffer.concat(parts) : null, { status, headers: pairs })
}

const { machine, own, wallet, other } = demo.certificates
const orders = new URL(demo.gateway + demo.protected_path)

// The library takes the addresses that ask for certificates, and proves itself by nothing else.
const found = await oauth.discoveryRequest(issuer)
const as = await oauth.processDiscoveryResponse(issuer, found)
assert(as.mtls_endpoint_aliases.token_endpoint !== as.token_endpoint)
assert.equal(as.tls_client_certificate_bound_access_tokens, true)
const credentials = async (id, identity) => {
  const metadata = { client_id: id, use_mtls_endpoint_aliases: true }
  const options = { [oauth.customFetch]: showing(identity) }
  const response =
    await oauth.clientCredentialsGrantRequest(as, metadata, oauth.TlsClientAuth(), {}, options)
  return oauth.processClientCredentialsResponse(as, metadata, response)
}
const call = (token, identity) => oauth.protectedResourceRequest(
  token, 'GET', orders, undefined, undefined, { [oauth.customFetch]: showing(identity) },
)
for (const [id, identity] of [['machine', machine], ['own', own]]) {
  const { access_token: token } = await credentials(id, identity)
  assert.equal(typeof decoded(token).cnf['x5t#S256'], 'string')
  assert.equal((await call(token, identity)).status, 200)
  for (const thief of [other, undefined]) {
    await assert.rejects(call(token, thief), { status: 401 })
    await assert.rejects(credentials(id, thief), { error: 'invalid_client' })
  }
}

// A public client, whose tokens are bound to a certificate that nobody knew before.
const config = identity => openid.discovery(
  issuer, 'wallet', { use_mtls_endpoint_aliases: true }, openid.None(), { [openid.customFetch]: showing(identity) },
)
const holder = await config(wallet)
const thieves = [await config(other), await config(undefined)]
const tokens = await signIn(holder, new Browser(), undefined, { redirect_uri: CALLBACK })
const { sub } = tokens.claims()
assert.equal((await openid.fetchUserInfo(holder, tokens.access_token, sub)).sub, sub)
assert.equal((await openid.fetchProtectedResource(holder, tokens.access_token, orders, 'GET')).status, 200)
for (const thief of thieves) {
  await assert.rejects(openid.fetchUserInfo(thief, tokens.access_token, sub), { status: 401 })
  const called = openid.fetchProtectedResource(thief, tokens.access_token, orders, 'GET')
  await assert.rejects(called, { status: 401 })
  await assert.rejects(openid.refreshTokenGrant(thief, tokens.refresh_token))
}
const next = await openid.refreshTokenGrant(holder, tokens.refresh_token)
assert.deepEqual(decoded(next.access_token).cnf, decoded(tokens.access_token).cnf)
assert.equal((await openid.fetchUserInfo(holder, next.access_token, sub)).sub, sub)
