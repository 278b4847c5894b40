// oauth4webapi: all that a client of the FAPI 2.0 Security Profile does, and what it must not get.

import { Browser, CALLBACK, assert, declare, demo, signingKey } from './demo.mjs'
import { Client, as, insecure, oauth, withNonce } from './oauth.mjs'

const { key, kid, jwks } = await signingKey()
const { client_id: id } = await declare({
  jwks,
  profile: 'fapi2',
  grant_types: ['authorization_code', 'refresh_token'],
  scope: 'openid offline_access',
  id_token_signed_response_alg: 'ES256',
})
const metadata = { client_id: id, id_token_signed_response_alg: 'ES256' }
const proof = async () => oauth.DPoP(metadata, await oauth.generateKeyPair('ES256'))
const auth = oauth.PrivateKeyJwt({ key, kid })
const client = new Client(metadata, auth, await proof())

const tokens = await client.code(true, 'openid offline_access')
assert.equal(tokens.token_type, 'dpop')
const claims = await client.shown(tokens.access_token, demo.gateway)
assert.equal(claims.cnf.jkt, await client.options.DPoP.calculateThumbprint())
await client.userinfo(tokens.access_token, claims.sub)
const orders = new URL(demo.gateway + demo.protected_path)
assert.equal((await client.call(tokens.access_token, orders)).status, 200)

// Its refresh tokens stay the same, so that a lost answer loses nothing (FAPI 2.0 §5.3.2.1).
const next = await client.refresh(tokens.refresh_token)
assert([undefined, tokens.refresh_token].includes(next.refresh_token))
await client.shown((await client.refresh(tokens.refresh_token)).access_token, demo.gateway)
await client.revoke(tokens.refresh_token)
await assert.rejects(client.refresh(tokens.refresh_token), { error: 'invalid_grant' })

// Without the proof of a key there is nothing, and nothing in the browser's own address.
const bearer = new Client(metadata, auth)
await assert.rejects(bearer.code(true, 'openid'), { error: 'invalid_request' })
await assert.rejects(client.code(false, 'openid'), { error: 'invalid_request' })
const push = asked => withNonce(async () => {
  const all = { client_id: id, response_type: 'code', redirect_uri: CALLBACK, scope: 'openid', ...asked }
  const response = await oauth.pushedAuthorizationRequest(as, metadata, auth, all, client.options)
  return oauth.processPushedAuthorizationResponse(as, metadata, response)
})
await assert.rejects(push({}), { error: 'invalid_request' })

// The audience of its assertion is the issuer, not an endpoint of it.
const elsewhere = (_, payload) => { payload.aud = as.token_endpoint }
const wrong = oauth.PrivateKeyJwt({ key, kid }, { [oauth.modifyAssertion]: elsewhere })
const strange = new Client(metadata, wrong)
await assert.rejects(strange.revoke(tokens.refresh_token), { error: 'invalid_client' })

// What was pushed works once.
const verifier = oauth.generateRandomCodeVerifier()
const { request_uri: uri } = await push({
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
})
const address = new URL(as.authorization_endpoint)
address.search = new URLSearchParams({ client_id: id, request_uri: uri })
const once = await new Browser().authorize(address)
assert(once.searchParams.has('code'))
const twice = await new Browser().visit(address)
assert.equal(twice.left, undefined)
