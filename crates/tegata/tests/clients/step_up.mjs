// openid-client and a real browser: a route that asks for more than the caller has shown (RFC 9470), and
// the way from its challenge to a token that does; oauth4webapi: what the gateway says of itself (RFC 9728).

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'

import { Chromium } from './chromium.mjs'
import { assert, decoded, demo, listen, unique } from './demo.mjs'
import { insecure as plain, oauth } from './oauth.mjs'
import { declared, openid, request } from './openid.mjs'

const AGE = 10
const name = unique('steps').slice(0, 40)
const password = 'a long and private phrase'
const [strong, recent] = [`/${unique('strong')}`, `/${unique('recent')}`]

// A person, and routes that ask for something.
const directory = await mkdtemp(join(tmpdir(), 'tegata-steps-'))
const tegata = (...command) => promisify(execFile)(demo.program, [...command, '--data-dir', demo.data])
const file = join(directory, 'declared.toml')
const apply = async text => {
  await writeFile(file, text, { mode: 0o600 })
  return tegata('apply', file)
}
const route = (path, asks) => `[[route]]\npath = "${path}"\nservice = "echo"\n${asks}\n`
try {
  await writeFile(file, password, { mode: 0o600 })
  await tegata('user', 'add', name, '--password-file', file)
  for (const [asks, why] of [
    ['acr = ["aal9"]', /`acr` holds `aal9`: a sign-in reaches `aal1` and `aal2`/],
    ['max_age = "-5m"', /`-5m` does not say how long ago a sign-in may be/],
    ['max_age = "0s"', /`0s` does not say/],
    ['auth = "none"\nacr = ["aal2"]', /`acr` needs a caller that is known/],
  ]) {
    await assert.rejects(apply(route(strong, asks)), ({ stderr }) => why.test(stderr))
  }
  await apply(route(strong, 'acr = ["aal2"]') + route(recent, `acr = ["aal2"]\nmax_age = "${AGE}s"`))
} finally {
  await rm(directory, { recursive: true })
}

// What the gateway is, for a client that has nothing but its address.
const gateway = new URL(demo.gateway)
const found = await oauth.resourceDiscoveryRequest(gateway, plain)
const resource = await oauth.processResourceDiscoveryResponse(gateway, found)
assert.deepEqual(resource.authorization_servers, [demo.issuer, demo.partner.issuer])
assert.deepEqual(resource.bearer_methods_supported, ['header'])
assert(resource.dpop_signing_alg_values_supported.includes('ES256'))
const nobody = await fetch(new URL(strong, gateway))
const challenges = nobody.headers.get('www-authenticate')
const led = challenges.match(/resource_metadata="([^"]*)"/g)
assert.equal(led.length, 2, challenges)
const address = new URL(led[0].split('"')[1])
assert.equal(led[1], led[0])
assert.deepEqual(await oauth.processResourceDiscoveryResponse(gateway, await fetch(address)), resource)

// A client of its own, which hears when the browser comes back.
const visits = []
const client = await listen(({ request: { url } }, response) => {
  visits.push(url)
  response.end('<!doctype html><link rel="icon" href="data:,"><h1 id="back">Back</h1>')
})
const callback = new URL('/callback', client.address)
const config = await declared({ redirect_uris: [callback.href] })
assert(config.serverMetadata().protected_resources.includes(demo.gateway))
const browser = await Chromium.start()
try {
  await all()
} finally {
  await browser.end()
  client.close()
}

/** Has the person answer a request in the browser. Answers the tokens, and what was asked of them. */
async function authorize(more) {
  const { parameters, checks } = await request({ redirect_uri: callback.href, resource: demo.gateway, ...more })
  const { pathname, search } = openid.buildAuthorizationUrl(config, parameters)
  const [passkey, allow] = ['button[data-passkey]:not([hidden])', 'button[value=allow]']
  const pages = `#back, #username, #code, ${allow}`
  const shows = selector => browser.run(`!!document.querySelector(${JSON.stringify(selector)})`)
  const shown = []
  // The page that the last request came back to is not taken for what this one leads to.
  await browser.run("document.querySelector('#back')?.remove()").catch(() => {})
  await browser.visit(pathname + search, pages)
  while (!await shows('#back')) {
    let next = allow
    if (await shows('#username')) {
      shown.push('password')
      await browser.type('#username', name)
      await browser.type('#password', password)
      next = 'form button.main'
    } else if (await shows('#code')) {
      shown.push('passkey')
      await browser.until(`document.querySelector('${passkey}')`)
      next = passkey
    }
    await browser.leads(() => browser.click(next), pages)
  }
  const back = new URL(visits.findLast(url => url.startsWith('/callback')), callback)
  const redeem = () => openid.authorizationCodeGrant(config, back, checks)
  return { shown, redeem }
}

/** What a call is answered: 200, or the challenge. */
async function call(path, { access_token: token }) {
  try {
    return (await openid.fetchProtectedResource(config, token, new URL(path, gateway), 'GET')).status
  } catch (error) {
    assert.equal(error.status, 401)
    assert.equal(error.cause.length, 1)
    const [{ scheme, parameters }] = error.cause
    assert.deepEqual([scheme, parameters.error], ['bearer', 'insufficient_user_authentication'])
    assert.equal(parameters.resource_metadata, address.href)
    const { acr_values, max_age } = parameters
    return { acr_values, ...(max_age && { max_age }) }
  }
}

async function all() {
  await browser.authenticator()
  await browser.offers(false)

  // By a password alone, and asked for more than the person has.
  const first = await authorize()
  assert.deepEqual(first.shown, ['password'])
  const weak = await first.redeem()
  assert.equal(decoded(weak.access_token).acr, 'aal1')
  assert.equal(await call('/echo/x', weak), 200)
  const asked = await call(strong, weak)
  assert.deepEqual(asked, { acr_values: 'aal2' })
  await assert.rejects((await authorize(asked)).redeem(), { error: 'unmet_authentication_requirements' })

  // With a passkey, what is asked for can be shown: that alone, in the same session.
  await browser.visit('/login/security', '#password')
  await browser.type('#password', password)
  await browser.leads(() => browser.click('button[value=prove]'), 'button[value=passkey]')
  await browser.leads(() => browser.click('button[value=passkey]'), '#name')
  await browser.leads(() => browser.click('button[data-passkey]'), '.codes')
  const second = await authorize(asked)
  assert.deepEqual(second.shown, ['passkey'])
  const tokens = await second.redeem()
  const { acr, sid, auth_time: began } = decoded(tokens.access_token)
  assert.deepEqual([acr, sid], ['aal2', decoded(weak.access_token).sid])
  assert.equal(await call(strong, tokens), 200)
  // What was given before says what it said, and so does what it is renewed to.
  assert.deepEqual(await call(strong, weak), asked)
  const renewed = await openid.refreshTokenGrant(config, weak.refresh_token)
  assert.deepEqual(await call(strong, renewed), asked)

  // Until it is too long ago. A renewed token is no new sign-in, and the session is not either.
  let old = await call(recent, tokens)
  while (old === 200) {
    await pause(100)
    old = await call(recent, tokens)
  }
  assert.deepEqual(old, { acr_values: 'aal2', max_age: String(AGE) })
  const later = await openid.refreshTokenGrant(config, tokens.refresh_token)
  assert.equal(decoded(later.access_token).auth_time, began)
  assert.deepEqual(await call(recent, later), old)
  const silent = await (await authorize(asked)).redeem()
  assert.deepEqual(await call(recent, silent), old)

  // Asked as the challenge says, the person shows all of it once more.
  const again = await authorize(old)
  assert.deepEqual(again.shown, ['password', 'passkey'])
  const fresh = await again.redeem()
  assert(decoded(fresh.access_token).auth_time > began)
  assert.equal(await call(recent, fresh), 200)
}
