// openid-client: services get tokens in their own name, and for those who called them.

import {
  ACCESS_TOKEN, Browser, EXCHANGE, assert, declare, decoded, demo, described, signingKey,
} from './demo.mjs'
import { declared, insecure, openid, signIn } from './openid.mjs'

async function service(id) {
  const auth = openid.ClientSecretBasic(described(id).client_secret)
  return openid.discovery(new URL(demo.issuer), id, {}, auth, insecure)
}

// In its own name, with a secret, with a key, and bound to a key.
const own = await service('demo-service')
const tokens = await openid.clientCredentialsGrant(own, { scope: 'orders.read' })
assert.equal(tokens.scope, 'orders.read')
assert.equal(decoded(tokens.access_token).sub, 'demo-service')
const orders = new URL(demo.gateway + demo.protected_path)
const DPoP = openid.getDPoPHandle(own, await openid.randomDPoPKeyPair('ES256'))
const bound = await openid.clientCredentialsGrant(own, {}, { DPoP })
assert.equal(bound.token_type, 'dpop')
await openid.fetchProtectedResource(own, tokens.access_token, orders, 'GET')
await openid.fetchProtectedResource(own, bound.access_token, orders, 'GET', null, undefined, { DPoP })
await assert.rejects(openid.clientCredentialsGrant(own, { scope: 'admin' }), { error: 'invalid_scope' })

const { key, kid, jwks } = await signingKey()
const { client_id: id } = await declare({
  jwks, redirect_uris: [], grant_types: ['client_credentials'], scope: 'orders.read',
})
const auth = openid.PrivateKeyJwt({ key, kid })
const keyed = await openid.discovery(new URL(demo.issuer), id, {}, auth, insecure)
assert.equal(decoded((await openid.clientCredentialsGrant(keyed)).access_token).client_id, id)

// For a person who called.
const person = await signIn(await declared(), new Browser())
const called = await service('orders')
const asked = {
  subject_token: person.access_token, subject_token_type: ACCESS_TOKEN, audience: 'payments',
}
const derived = await openid.genericGrantRequest(called, EXCHANGE, asked)
assert.equal(derived.issued_token_type, ACCESS_TOKEN)
const claims = decoded(derived.access_token)
assert.deepEqual([claims.sub, claims.aud, claims.act.sub], [person.claims().sub, 'payments', 'orders'])
const elsewhere = openid.genericGrantRequest(called, EXCHANGE, { ...asked, audience: 'reviews' })
await assert.rejects(elsewhere, { error: 'invalid_target' })

// The same service by the address that it is called at, and several at once.
const { audience, ...alone } = asked
const at = name => `${demo.gateway}/${name}`
const byAddress = await openid.genericGrantRequest(called, EXCHANGE, { ...alone, resource: at(audience) })
assert.equal(decoded(byAddress.access_token).aud, audience)
for (const resource of [audience, at('reviews'), at('nowhere'), 'https://elsewhere.example/payments']) {
  const refused = openid.genericGrantRequest(called, EXCHANGE, { ...alone, resource })
  await assert.rejects(refused, { error: 'invalid_target' }, resource)
}
const several = values => new URLSearchParams(values)
const two = several([['resource', at('inventory')], ['audience', 'payments']])
// Whoever holds a bearer token for both could show it to the other.
await assert.rejects(openid.clientCredentialsGrant(called, two), { error: 'invalid_target' })
const proof = { DPoP: openid.getDPoPHandle(called, await openid.randomDPoPKeyPair('ES256')) }
const both = await openid.clientCredentialsGrant(called, two, proof)
assert.deepEqual(decoded(both.access_token).aud, ['inventory', 'payments'])
assert.equal(both.expires_in, 60)
const tooMany = several([['audience', 'payments'], ['audience', 'reviews']])
await assert.rejects(openid.clientCredentialsGrant(called, tooMany, proof), { error: 'invalid_target' })
