// Every page that people meet, in both languages, light and dark, on a phone and on a desk: nothing that
// axe finds wrong, nothing wider than the screen, nothing that the keyboard reaches unseen, and nothing that
// the page's own policy forbids.

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { Chromium, assert, demo } from './chromium.mjs'
import { CALLBACK, unique } from './demo.mjs'
import { Look } from './look.mjs'

const language = process.env.TEGATA_LANGUAGE
const password = 'a long and private phrase'
const asked = new URLSearchParams({
  response_type: 'code', client_id: 'demo-web', redirect_uri: CALLBACK, scope: 'openid profile email',
  state: 'x', code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
})

async function person() {
  const name = unique('pages').slice(0, 40)
  const directory = await mkdtemp(join(tmpdir(), 'tegata-pages-'))
  const file = join(directory, 'password')
  await writeFile(file, password, { mode: 0o600 })
  await promisify(execFile)(demo.program, ['user', 'add', name, '--password-file', file, '--data-dir', demo.data])
  await rm(directory, { recursive: true })
  return name
}

const browser = await Chromium.start()
const looks = new Look(browser, language)
const look = page => looks.at(page)
try {
  await walk(await person())
} finally {
  await browser.end()
}
assert.deepEqual(looks.found, [])

async function walk(name) {
  await browser.speaks(language)
  const refused = await browser.violations()
  const authenticator = await browser.authenticator()
  await browser.offers(false)
  const signIn = async next => {
    await browser.type('#username', name)
    await browser.type('#password', password)
    await browser.leads(() => browser.click('form button.main'), next)
  }

  await browser.visit('/login', '#username')
  await look('sign-in')
  await browser.type('#username', name)
  await browser.type('#password', 'not this one')
  await browser.leads(() => browser.click('form button.main'), '#problem')
  await look('sign-in-refused')
  for (const page of ['signup', 'reset', 'link']) {
    await browser.visit(`/login/${page}`, 'form')
    await look(page)
  }
  const stranger = new URLSearchParams([...asked].map(([key, value]) => [key, key === 'redirect_uri' ? `${value}/x` : value]))
  await browser.visit(`/oauth2/authorize?${stranger}`, 'h1')
  assert.match(await browser.text(), /invalid redirect_uri/)
  await look('error')

  await browser.visit('/login', '#username')
  await signIn('form[action="/oauth2/logout"]')
  await look('account')
  await browser.visit('/login/device', '#user_code')
  await look('device')
  await browser.visit(`/oauth2/authorize?${asked}`, 'button[value=allow]')
  await look('consent')
  await browser.visit('/login/security', '#password')
  await look('prove')
  await browser.type('#password', password)
  await browser.leads(() => browser.click('button[value=prove]'), 'button[value=passkey]')
  await look('security')
  await browser.leads(() => browser.click('button[value=begin]'), '#totp_secret')
  await look('app')
  await browser.visit('/login/security', 'button[value=passkey]')
  await browser.leads(() => browser.click('button[value=passkey]'), '#name')
  await look('passkey')
  await browser.leads(() => browser.click('button[data-passkey]'), '.codes')
  await look('codes')
  const shown = 'button[data-passkey]:not([hidden])'
  await browser.visit('/login/security', shown)
  await look('prove-again')
  await browser.leads(() => browser.click(shown), 'button[value^="remove:"]')
  await look('factors')
  await browser.visit('/oauth2/logout', 'button[value=logout]')
  await look('logout')
  await browser.leads(() => browser.click('button[value=logout]'), 'h1')
  await look('signed-out')
  await browser.visit('/login', '#username')
  await signIn('#code')
  await look('second')
  assert.equal((await authenticator.credentials()).length, 1)
  looks.found.push(...refused)
}
