// Pages that people meet seldom: addresses that are not there, what is away, too many attempts, codes from mails, devices,
// and the second factor that somebody has to set up before they are let in. Looked at as all others are.

import { createHmac } from 'node:crypto'

import { Chromium, assert, demo } from './chromium.mjs'
import { Browser } from './demo.mjs'
import { Look } from './look.mjs'

const language = process.env.TEGATA_LANGUAGE
const [maria, editor] = demo.users
const browser = await Chromium.start()
const looks = new Look(browser, language)
const look = page => looks.at(page)
const main = () => browser.click('form button.main')
try {
  await browser.speaks(language)
  const refused = await browser.violations()
  await browser.offers(false)
  await letters()
  await devices()
  await enrolment()
  await troubles()
  looks.found.push(...refused)
} finally {
  await browser.end()
}
assert.deepEqual(looks.found, [])

async function signIn({ username, password }, next) {
  await browser.visit('/login', '#username')
  await browser.type('#username', username)
  await browser.type('#password', password)
  await browser.leads(main, next)
}

/** What is typed or followed from a mail, and the pages that send one. */
async function letters() {
  await browser.visit('/login/signup', '#email')
  await browser.type('#email', 'no address')
  await browser.leads(main, '#problem')
  await look('signup-refused')
  await browser.visit('/login/reset', '#account')
  await browser.type('#account', 'nobody@example.com')
  await browser.leads(main, 'a.button.quiet')
  await look('mail-sent')

  await browser.visit('/login/link', '#account')
  await browser.type('#account', 'nobody@example.com')
  await browser.leads(main, 'header + form #link')
  await look('mail-code')
  await browser.type('#link', 'not this one')
  await browser.leads(main, '#problem')
  await look('mail-code-refused')

  // As a link leads there, with the code in it, and as somebody comes who types it.
  await browser.visit('/login/password#abcdefghijklmnopqrstuvwxyz', '#password')
  assert.equal(await browser.run("document.querySelector('#from-mail').hidden"), true)
  await look('set-password')
  await browser.visit('/login/address', '#link')
  await look('address')
  await browser.visit('/login/password', '#link')
  await look('set-password-by-code')
  await browser.type('#link', 'not this one')
  await browser.type('#password', 'a long and private phrase of mine')
  await browser.leads(main, '#problem')
  await look('set-password-refused')
}

/** A device asks, and is allowed or not. */
async function devices() {
  const code = async () => {
    const body = new URLSearchParams({ client_id: 'screen', scope: 'openid profile email offline_access' })
    return (await (await fetch(`${demo.issuer}/oauth2/device`, { method: 'POST', body })).json()).user_code
  }
  const asks = async () => {
    await browser.visit(`/login/device?user_code=${await code()}`, '#user_code')
    await browser.leads(main, 'button[value=allow]')
  }
  await signIn(maria, 'form[action="/oauth2/logout"]')
  await browser.visit('/login/device', '#user_code')
  await browser.type('#user_code', 'BBBB-BBBB')
  await browser.leads(main, '#problem')
  await look('device-unknown')
  await asks()
  await look('device-asks')
  await browser.type('#password', 'not this one')
  await browser.leads(() => browser.click('button[value=allow]'), '#problem')
  await look('device-proof-refused')
  await browser.type('#password', maria.password)
  await browser.leads(() => browser.click('button[value=allow]'), 'header + *, header')
  assert.equal(await browser.run("!!document.querySelector('form')"), false)
  await look('device-allowed')
  await asks()
  await browser.leads(() => browser.click('button[value=deny]'), 'header')
  assert.equal(await browser.run("!!document.querySelector('form')"), false)
  await look('device-denied')
  await browser.visit('/oauth2/logout', 'button[value=logout]')
  await browser.leads(() => browser.click('button[value=logout]'), 'h1')
}

/** Somebody who must have a second factor, and has none. */
async function enrolment() {
  await signIn(editor, '#totp_secret')
  await look('enrolment')
  await browser.type('#code', '000')
  await browser.leads(main, '#problem')
  await look('enrolment-refused')
  const secret = (await browser.run("document.querySelector('#totp_secret').textContent")).replaceAll(' ', '')
  await browser.type('#code', totp(secret))
  await browser.leads(main, '.codes')
  await look('enrolled')
}

/** What is not there, what is away, and what was too much. */
async function troubles() {
  const status = async path => (await fetch(demo.issuer + path, { headers: { accept: 'text/html' } })).status
  const nowhere = '/nowhere'
  assert.equal(await status(nowhere), 404)
  await browser.visit(nowhere, 'h1')
  await look('not-found')

  // The document of a client is where nobody listens.
  const away = `/oauth2/authorize?${new URLSearchParams({
    response_type: 'code', client_id: 'http://127.0.0.1:1/client', redirect_uri: 'http://127.0.0.1:1/back', scope: 'openid',
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
  })}`
  assert.equal(await status(away), 503)
  await browser.visit(away, 'h1')
  await look('away')

  // Somebody in the same network asks for more mails than one network may, and tries more passwords.
  const other = new Browser()
  for (let mails = 0, answer = {}; answer.status !== 429; mails += 1) {
    assert(mails < 100, 'mails without end')
    answer = await other.submit((await other.visit('/login/reset')).page, { account: 'nobody@example.com' })
  }
  await browser.visit('/login/reset', '#account')
  await browser.type('#account', 'nobody@example.com')
  await browser.leads(main, 'h1')
  assert.equal(await browser.run("!!document.querySelector('form')"), false)
  await look('too-many')
  for (let tries = 0, answer = {}; answer.status !== 429; tries += 1) {
    assert(tries < 100, 'attempts without end')
    answer = await other.submit((await other.visit('/login')).page, { username: 'nobody', password: 'not this one' })
  }
  await browser.visit('/login?another=true', '#username')
  await browser.type('#username', 'nobody')
  await browser.type('#password', 'not this one')
  await browser.leads(main, '#problem')
  await look('sign-in-too-many')
}

/** The code that an app shows now (RFC 6238). */
function totp(secret) {
  const bits = [...secret].map(letter => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('')
  const key = Buffer.from(bits.match(/.{8}/g).map(byte => parseInt(byte, 2)))
  const step = Buffer.alloc(8)
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)))
  const mac = createHmac('sha1', key).update(step).digest()
  const code = mac.readUInt32BE(mac.at(-1) & 15) & 0x7fffffff
  return String(code % 1_000_000).padStart(6, '0')
}
