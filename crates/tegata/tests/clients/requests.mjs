// openid-client: requests that are pushed (PAR), signed (JAR), or both, and answers that are signed (JARM).

import { Browser, assert, declare, demo, signingKey } from './demo.mjs'
import { declared, insecure, openid, request } from './openid.mjs'

async function ends(config, address, checks) {
  const tokens = await openid.authorizationCodeGrant(config, address, checks)
  assert.equal(tokens.claims().aud, config.clientMetadata().client_id)
}

// Pushed, by a client that must.
const pushing = await declared({ require_pushed_authorization_requests: true })
const pushed = await request()
const address = await openid.buildAuthorizationUrlWithPAR(pushing, pushed.parameters)
assert.deepEqual([...address.searchParams.keys()].sort(), ['client_id', 'request_uri'])
await ends(pushing, await new Browser().authorize(address), pushed.checks)
const plain = await request()
const refused = await new Browser().authorize(openid.buildAuthorizationUrl(pushing, plain.parameters))
assert.equal(refused.searchParams.get('error'), 'invalid_request')

// Signed, by a client that must, with each kind of key; then signed and pushed.
const rsa = { modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' }
for (const [algorithm, alg] of [
  [{ name: 'ECDSA', namedCurve: 'P-256' }, 'ES256'],
  [{ name: 'RSA-PSS', ...rsa }, 'PS256'],
  [{ name: 'RSASSA-PKCS1-v1_5', ...rsa }, 'RS256'],
  [{ name: 'Ed25519' }, 'Ed25519'],
]) {
  const { key, kid, jwks } = await signingKey(algorithm, alg)
  const { client_id: id } = await declare({
    jwks,
    scope: 'openid profile email offline_access',
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'private_key_jwt',
    require_signed_request_object: true,
    request_object_signing_alg: alg,
  })
  const auth = openid.PrivateKeyJwt({ key, kid })
  const signing = await openid.discovery(new URL(demo.issuer), id, {}, auth, insecure)
  const asked = await request()
  const signed = await openid.buildAuthorizationUrlWithJAR(signing, asked.parameters, { key, kid })
  assert(signed.searchParams.has('request') && !signed.searchParams.has('nonce'))
  await ends(signing, await new Browser().authorize(signed), asked.checks)

  const both = await request()
  const { searchParams } = await openid.buildAuthorizationUrlWithJAR(signing, both.parameters, { key, kid })
  const away = await openid.buildAuthorizationUrlWithPAR(signing, searchParams)
  await ends(signing, await new Browser().authorize(away), both.checks)
}

// The answer is signed, with each algorithm that there is, and so is an error.
for (const alg of ['RS256', 'PS256', 'ES256', 'EdDSA']) {
  const { client_id: id, client_secret: secret } = await declare({
    client_secret: 'a secret that is long enough',
    scope: 'openid profile email offline_access',
    authorization_signed_response_alg: alg,
    id_token_signed_response_alg: alg,
  })
  const metadata = { authorization_signed_response_alg: alg, id_token_signed_response_alg: alg }
  const auth = openid.ClientSecretBasic(secret)
  const config = await openid.discovery(new URL(demo.issuer), id, metadata, auth, insecure)
  openid.useJwtResponseMode(config)
  openid.enableNonRepudiationChecks(config)
  for (const mode of ['jwt', 'query.jwt']) {
    const { parameters, checks } = await request({ response_mode: mode })
    const answer = await new Browser().authorize(openid.buildAuthorizationUrl(config, parameters))
    assert.deepEqual([...answer.searchParams.keys()], ['response'])
    await ends(config, answer, checks)
  }
  const { parameters, checks } = await request({ prompt: 'none' })
  const error = await new Browser().authorize(openid.buildAuthorizationUrl(config, parameters))
  await assert.rejects(openid.authorizationCodeGrant(config, error, checks), { error: 'login_required' })
}
