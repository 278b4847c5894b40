// openid-client: pairwise clients, declared and registered by themselves, and what they could compare.

import { Browser, CALLBACK, assert, declare, decoded, demo, listen, unique } from './demo.mjs'
import { insecure, openid, signIn } from './openid.mjs'

const scope = 'openid offline_access'
const named = { subject_type: 'pairwise', grant_types: ['authorization_code', 'refresh_token'], scope }

/** An operator says in which sector a client is. */
async function declared(sector) {
  const secret = unique('secret')
  const { client_id: id } = await declare({ ...named, client_secret: secret, ...(sector ? { sector } : {}) })
  return openid.discovery(new URL(demo.issuer), id, {}, openid.ClientSecretBasic(secret), insecure)
}

// A site lists the addresses of its clients.
const list = await listen((_, response) => {
  response.setHeader('content-type', 'application/json').end(JSON.stringify([CALLBACK]))
})
const said = { ...named, redirect_uris: [CALLBACK], sector_identifier_uri: `${list.address}/clients.json` }
const registered = await openid.dynamicClientRegistration(new URL(demo.issuer), said, undefined, insecure)
assert.equal(registered.clientMetadata().subject_type, 'pairwise')
assert.equal(registered.serverMetadata().subject_types_supported.includes('pairwise'), true)

/** What a client calls whoever sits at the browser; the library compares ID token and userinfo. */
async function known(config, browser) {
  const tokens = await signIn(config, browser, undefined, { scope })
  const { sub, sid } = tokens.claims()
  const info = await openid.fetchUserInfo(config, tokens.access_token, sub)
  assert.equal(info.sub, sub)
  assert.equal(decoded(tokens.access_token).sub, sub)
  const next = await openid.refreshTokenGrant(config, tokens.refresh_token)
  assert.equal((await openid.fetchUserInfo(config, next.access_token, sub)).sub, sub)
  return { sub, sid }
}

const browser = new Browser()
const [one, two] = [await declared('app.example'), await declared('app.example')]
const [far, itself] = [await declared('far.example'), registered]
const names = []
for (const config of [one, two, far, itself]) names.push(await known(config, browser))
assert.deepEqual(names[0], names[1])
for (const name of ['sub', 'sid']) assert.equal(new Set(names.map(it => it[name])).size, 3, name)
// In another session the same person has the same name.
const again = await known(one, new Browser())
assert.equal(again.sub, names[0].sub)
assert.notEqual(again.sid, names[0].sid)
list.close()
