// openid-client: clients that register themselves, with a secret, and with keys that they publish.

import { Browser, CALLBACK, assert, demo, listen, signingKey } from './demo.mjs'
import { insecure, openid, signIn } from './openid.mjs'

const metadata = {
  redirect_uris: [CALLBACK],
  client_name: 'A client of the tests',
  grant_types: ['authorization_code', 'refresh_token'],
  scope: 'openid profile email offline_access',
}
const register = (said, auth) =>
  openid.dynamicClientRegistration(new URL(demo.issuer), { ...metadata, ...said }, auth, insecure)

for (const method of ['client_secret_basic', 'client_secret_post', 'none']) {
  const config = await register({ token_endpoint_auth_method: method })
  const { client_id: id, client_secret: secret } = config.clientMetadata()
  assert.equal(Boolean(secret), method !== 'none')
  const tokens = await signIn(config, new Browser())
  assert.equal(tokens.claims().aud, id)
}

const { key, kid, jwks } = await signingKey()
let asked = 0
const published = await listen((_, response) => {
  asked += 1
  response.setHeader('content-type', 'application/jwk-set+json').end(JSON.stringify(jwks))
})
const said = { token_endpoint_auth_method: 'private_key_jwt', jwks_uri: `${published.address}/jwks` }
const config = await register(said, openid.PrivateKeyJwt({ key, kid }))
assert.equal(config.clientMetadata().client_secret, undefined)
const tokens = await signIn(config, new Browser())
assert(asked > 0, 'the published keys were not asked for')
await openid.refreshTokenGrant(config, tokens.refresh_token)

const { key: strange } = await signingKey()
const { client_id: id } = config.clientMetadata()
const auth = openid.PrivateKeyJwt({ key: strange, kid })
const liar = await openid.discovery(new URL(demo.issuer), id, {}, auth, insecure)
await assert.rejects(openid.refreshTokenGrant(liar, tokens.refresh_token), { error: 'invalid_client' })
published.close()
