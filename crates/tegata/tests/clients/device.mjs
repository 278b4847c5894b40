// openid-client: a device without a browser, whose person allows it, or does not, in a browser elsewhere.

import { Browser, assert, decoded, demo, somebody } from './demo.mjs'
import { declared, openid } from './openid.mjs'

const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code'
const scope = 'openid profile offline_access'
const person = await somebody()
const settings = { grant_types: [DEVICE, 'refresh_token'], redirect_uris: [] }

for (const more of [{}, { public: true }]) {
  const auth = more.public ? () => openid.None() : openid.ClientSecretBasic
  const config = await declared({ ...settings, ...more }, auth)
  assert.equal(config.serverMetadata().device_authorization_endpoint, `${demo.issuer}/oauth2/device`)

  const told = await openid.initiateDeviceAuthorization(config, { scope })
  assert(told.verification_uri.startsWith(demo.issuer) && told.expires_in > 0)
  assert.equal(new URL(told.verification_uri_complete).searchParams.get('user_code'), told.user_code)
  // It asks while nobody has answered, as often as it was told, and goes on when somebody does.
  const waits = openid.pollDeviceAuthorizationGrant(config, told)
  await new Browser().device(told.verification_uri_complete, person, 'allow')
  const tokens = await waits
  const { sub, aud } = tokens.claims()
  assert.equal(aud, config.clientMetadata().client_id)
  assert.equal((await openid.fetchUserInfo(config, tokens.access_token, sub)).sub, sub)
  const next = await openid.refreshTokenGrant(config, tokens.refresh_token)
  assert.equal(decoded(next.access_token).sub, sub)
  await openid.tokenRevocation(config, next.refresh_token)
  await assert.rejects(openid.refreshTokenGrant(config, next.refresh_token), { error: 'invalid_grant' })
  // What was answered is of no more use.
  await assert.rejects(openid.pollDeviceAuthorizationGrant(config, told), { error: 'invalid_grant' })
}

const config = await declared(settings)
const told = await openid.initiateDeviceAuthorization(config, { scope })
const waits = openid.pollDeviceAuthorizationGrant(config, told)
await new Browser().device(told.verification_uri_complete, person, 'deny')
await assert.rejects(waits, { error: 'access_denied' })
