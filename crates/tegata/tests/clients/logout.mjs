// openid-client: the person signs out at the client's wish, and all clients hear of it.

import { Browser, CALLBACK, assert, demo, library, listen } from './demo.mjs'
import { insecure, openid, signIn } from './openid.mjs'

const { createRemoteJWKSet, jwtVerify } = await library('jose', 'dist/webapi/index.js')
const keys = createRemoteJWKSet(new URL(`${demo.issuer}/.well-known/jwks.json`))
const after = 'http://127.0.0.1:9999/goodbye'

let told
const heard = new Promise(resolve => { told = resolve })
const back = await listen(({ request, body }, response) => {
  response.writeHead(204).end()
  told({ method: request.method, path: request.url, token: new URLSearchParams(body).get('logout_token') })
})
const config = await openid.dynamicClientRegistration(new URL(demo.issuer), {
  redirect_uris: [CALLBACK],
  post_logout_redirect_uris: [after],
  grant_types: ['authorization_code', 'refresh_token'],
  scope: 'openid profile email offline_access',
  backchannel_logout_uri: `${back.address}/ended`,
  backchannel_logout_session_required: true,
}, undefined, insecure)

const browser = new Browser()
const tokens = await signIn(config, browser)
const { sub, sid } = tokens.claims()
const online = await signIn(config, browser, undefined, { scope: 'openid profile' })
assert.equal(online.claims().sid, sid)
const address = openid.buildEndSessionUrl(config, {
  id_token_hint: tokens.id_token,
  post_logout_redirect_uri: after,
  state: 'as it was',
})
const { page } = await browser.visit(address)
const { left } = await browser.submit(page, { decision: 'logout' })
assert.equal(left?.origin + left?.pathname, after)
assert.deepEqual([...left.searchParams], [['state', 'as it was']])

const { method, path, token } = await heard
assert.deepEqual([method, path], ['POST', '/ended'])
const audience = config.clientMetadata().client_id
const checks = { issuer: demo.issuer, audience, typ: 'logout+jwt', requiredClaims: ['iat', 'jti', 'exp'] }
const { payload } = await jwtVerify(token, keys, checks)
assert.deepEqual([payload.sub, payload.sid, payload.nonce], [sub, sid, undefined])
assert.deepEqual(payload.events, { 'http://schemas.openid.net/event/backchannel-logout': {} })

// Nobody is signed in any more.
const silent = openid.buildAuthorizationUrl(config, {
  redirect_uri: CALLBACK, scope: 'openid', prompt: 'none', state: 'x',
})
assert.equal((await browser.authorize(silent)).searchParams.get('error'), 'login_required')
await assert.rejects(openid.fetchUserInfo(config, online.access_token, sub), { status: 401 })
await assert.rejects(openid.refreshTokenGrant(config, online.refresh_token), { error: 'invalid_grant' })
// What was granted for when the person is away goes on (Back-Channel Logout §2.7).
await openid.fetchUserInfo(config, tokens.access_token, sub)
await openid.refreshTokenGrant(config, tokens.refresh_token)
back.close()
