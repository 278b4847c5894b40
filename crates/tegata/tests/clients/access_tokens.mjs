// oauth4webapi: its view of the access token of every grant, as a resource that is shown it would
// judge (RFC 9068, RFC 9449), and of what introspection says.

import { assert, declare, demo, described, unique } from './demo.mjs'
import { Client, oauth } from './oauth.mjs'

const secret = unique('secret')
const inspector = await declare({ client_secret: secret, may_introspect: true })
const asks = new Client({ client_id: inspector.client_id }, oauth.ClientSecretBasic(secret))

async function judge(client, answer, audience, more = {}) {
  const { DPoP } = client.options
  assert.equal(answer.token_type, DPoP ? 'dpop' : 'bearer')
  const claims = await client.shown(answer.access_token, audience)
  const jkt = await DPoP?.calculateThumbprint()
  assert.equal(claims.cnf?.jkt, jkt)
  const known = await asks.introspect(answer.access_token)
  assert.equal(known.active, true)
  for (const name of ['iss', 'sub', 'client_id', 'jti', 'iat', 'exp', 'aud', 'scope', 'acr', 'auth_time']) {
    assert.deepEqual(known[name], claims[name], name)
  }
  assert.equal(known.token_type, DPoP ? 'DPoP' : 'Bearer')
  assert.equal(known.cnf?.jkt, jkt)
  for (const [name, value] of Object.entries(more)) assert.equal(claims[name], value, name)
  await assert.rejects(client.shown(answer.access_token, 'somebody else'), { message: /aud/ })
  return claims
}

const key = async client => oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
const own = id => [{ client_id: id }, oauth.ClientSecretBasic(described(id).client_secret)]

for (const bound of [false, true]) {
  for (const alg of ['RS256', 'PS256', 'ES256', 'EdDSA']) {
    const { client_id: id } = await declare({
      public: true,
      grant_types: ['authorization_code', 'refresh_token'],
      scope: 'openid offline_access',
      access_token_signed_response_alg: alg,
      id_token_signed_response_alg: alg,
    })
    const metadata = { client_id: id, id_token_signed_response_alg: alg }
    const client = new Client(metadata, oauth.None(), bound ? await key(metadata) : undefined)
    const first = await client.code(false, 'openid offline_access')
    const { sub, acr, auth_time: began } = await judge(client, first, demo.gateway, { client_id: id })
    assert(acr === 'aal1' && Number.isInteger(began))
    const how = { acr, auth_time: began }
    assert.equal(oauth.getValidatedIdTokenClaims(first).sub, sub)
    await client.userinfo(first.access_token, sub)
    const next = await client.refresh(first.refresh_token)
    await judge(client, next, demo.gateway, { client_id: id, sub, ...how })

    // An exchange proves the key that the token is bound to.
    const orders = new Client(...own('orders'), client.options.DPoP)
    const derived = await orders.exchange(next.access_token, 'payments')
    await judge(orders, derived, 'payments', { sub, client_id: 'orders', ...how })

    // So does one with an actor, whose token is bound to that key, too.
    const actor = await orders.credentials({})
    const acted = await orders.exchange(next.access_token, 'payments', actor.access_token)
    const { act } = await judge(orders, acted, 'payments', { sub, client_id: 'orders' })
    assert.deepEqual(act, { sub: 'orders' })
    const persons = orders.exchange(next.access_token, 'payments', next.access_token)
    await assert.rejects(persons, { error: 'invalid_request' })
    await orders.revoke(actor.access_token)
    assert.deepEqual(await asks.introspect(acted.access_token), { active: false })
    assert.equal((await asks.introspect(derived.access_token)).active, true)

    await client.revoke(next.refresh_token)
    assert.deepEqual(await asks.introspect(next.access_token), { active: false })
    assert.deepEqual(await asks.introspect(derived.access_token), { active: false })
  }
  const [metadata, auth] = own('demo-service')
  const service = new Client(metadata, auth, bound ? await key(metadata) : undefined)
  const answer = await service.credentials({ scope: 'orders.read' })
  const nobodys = { acr: undefined, auth_time: undefined }
  await judge(service, answer, demo.gateway, { sub: 'demo-service', scope: 'orders.read', ...nobodys })
  const orders = new URL(demo.gateway + demo.protected_path)
  assert.equal((await service.call(answer.access_token, orders)).status, 200)
}
