// openid-client: a code with PKCE, and what becomes of its tokens, for each way to prove oneself.

import { Browser, alice, assert, decoded } from './demo.mjs'
import { declared, openid, request, signIn } from './openid.mjs'

const inspector = await declared({ may_introspect: true })

for (const [auth, settings] of [
  [openid.ClientSecretBasic, { token_endpoint_auth_method: 'client_secret_basic' }],
  [openid.ClientSecretPost, { token_endpoint_auth_method: 'client_secret_post' }],
  [() => openid.None(), { public: true }],
]) {
  const config = await declared(settings, auth)
  const tokens = await signIn(config, new Browser())
  const claims = tokens.claims()
  assert.equal(claims.aud, config.clientMetadata().client_id)
  assert.equal(tokens.token_type, 'bearer')

  const person = await openid.fetchUserInfo(config, tokens.access_token, claims.sub)
  assert.equal(person.preferred_username, alice.username)

  const next = await openid.refreshTokenGrant(config, tokens.refresh_token)
  assert.notEqual(next.refresh_token, tokens.refresh_token)
  assert.equal(decoded(next.access_token).sub, claims.sub)

  const known = await openid.tokenIntrospection(inspector, next.access_token)
  assert(known.active && known.sub === claims.sub, JSON.stringify(known))
  await openid.tokenRevocation(config, next.refresh_token)
  assert.deepEqual(await openid.tokenIntrospection(inspector, next.access_token), { active: false })
  await assert.rejects(openid.refreshTokenGrant(config, next.refresh_token), { error: 'invalid_grant' })
  await assert.rejects(openid.fetchUserInfo(config, next.access_token, claims.sub), { status: 401 })
}

// The library says no where it should: another's verifier, and a nonce that was not asked for.
const config = await declared()
const { parameters, checks } = await request()
const ask = () => new Browser().authorize(openid.buildAuthorizationUrl(config, parameters))
const wrong = { ...checks, pkceCodeVerifier: openid.randomPKCECodeVerifier() }
await assert.rejects(openid.authorizationCodeGrant(config, await ask(), wrong), { error: 'invalid_grant' })
const other = openid.authorizationCodeGrant(config, await ask(), {
  ...checks, expectedNonce: openid.randomNonce(),
})
await assert.rejects(other, { code: 'OAUTH_JWT_CLAIM_COMPARISON_FAILED' })

// A person who is not signed in, and must not be asked: the error travels with `iss` and `state`.
const silent = await request({ prompt: 'none' })
const refused = await new Browser().authorize(openid.buildAuthorizationUrl(config, silent.parameters))
const nobody = openid.authorizationCodeGrant(config, refused, silent.checks)
await assert.rejects(nobody, { error: 'login_required' })
