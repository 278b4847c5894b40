// openid-client: tokens that are bound to a key, with nonces, at the issuer and through the gateway.

import { Browser, assert, decoded, demo } from './demo.mjs'
import { declared, openid, request, signIn } from './openid.mjs'

const orders = new URL(demo.gateway + demo.protected_path)

for (const alg of ['ES256', 'PS256', 'RS256', 'Ed25519']) {
  const bound = { public: true, dpop_bound_access_tokens: true, dpop_nonce: 'required' }
  const config = await declared(bound, () => openid.None())
  const keys = await openid.randomDPoPKeyPair(alg)
  const DPoP = openid.getDPoPHandle(config, keys)
  const thumbprint = await DPoP.calculateThumbprint()
  const tokens = await signIn(config, new Browser(), { DPoP })
  assert.equal(tokens.token_type, 'dpop')
  assert.deepEqual(decoded(tokens.access_token).cnf, { jkt: thumbprint })

  const { sub } = tokens.claims()
  assert.equal((await openid.fetchUserInfo(config, tokens.access_token, sub, { DPoP })).sub, sub)
  const call = (token, options) =>
    openid.fetchProtectedResource(config, token, orders, 'GET', null, undefined, options)
  assert.equal((await call(tokens.access_token, { DPoP })).status, 200)

  const next = await openid.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP })
  assert.deepEqual(decoded(next.access_token).cnf, { jkt: thumbprint })
  assert.equal((await call(next.access_token, { DPoP })).status, 200)

  // Without the proof, or with another's, it is nothing.
  const thief = { DPoP: openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256')) }
  await assert.rejects(call(next.access_token), { status: 401 })
  await assert.rejects(call(next.access_token, thief), { status: 401 })
  await assert.rejects(openid.fetchUserInfo(config, next.access_token, sub, thief), { status: 401 })
  const stolen = openid.refreshTokenGrant(config, next.refresh_token, undefined, thief)
  await assert.rejects(stolen, { error: 'invalid_grant' })
}

// A code that is bound to the key: by a pushed request with a proof, and by `dpop_jkt`.
const config = await declared()
const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
const other = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
for (const build of [
  parameters => openid.buildAuthorizationUrlWithPAR(config, parameters, { DPoP }),
  async parameters =>
    openid.buildAuthorizationUrl(config, { ...parameters, dpop_jkt: await DPoP.calculateThumbprint() }),
]) {
  const { parameters, checks } = await request()
  const answer = await new Browser().authorize(await build(parameters))
  const redeem = options => openid.authorizationCodeGrant(config, answer, checks, undefined, options)
  await assert.rejects(redeem({ DPoP: other }), { error: 'invalid_grant' })
  const again = await new Browser().authorize(await build(parameters))
  const tokens = await openid.authorizationCodeGrant(config, again, checks, undefined, { DPoP })
  assert.equal(tokens.token_type, 'dpop')
}
