// Every page that people meet, in both languages, light and dark, on a phone and on a desk: nothing that
// axe finds wrong, nothing wider than the screen, nothing that the keyboard reaches unseen, and nothing that
// the page's own policy forbids.

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { Chromium, assert, demo } from './chromium.mjs'
import { CALLBACK, unique } from './demo.mjs'

const axe = await readFile(demo.axe, 'utf8')
// Each page is seen in two of the four shapes in one language, and in the others in the other.
const SHAPES = {
  en: [{ width: 1280, height: 900, dark: false }, { width: 320, height: 640, dark: true }],
  ja: [{ width: 1280, height: 900, dark: true }, { width: 320, height: 640, dark: false }],
}
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

const found = []
const browser = await Chromium.start()
try {
  await walk(await person())
} finally {
  await browser.end()
}
assert.deepEqual(found, [])

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
  found.push(...refused)
}

/** Looks at a page in every shape. */
async function look(page) {
  await browser.run(`${axe}; true`)
  assert.equal(await browser.run('document.documentElement.lang'), language, page)
  for (const shape of SHAPES[language]) {
    await browser.looks(shape)
    await browser.run('Promise.all(document.getAnimations().map(it => it.finished)).then(() => true)')
    const said = text => found.push(`${page} (${language}, ${shape.width}${shape.dark ? ', dark' : ''}): ${text}`)
    const wrong = await browser.run(`axe.run(document).then(({ violations }) => violations.map(
      ({ id, nodes }) => id + ': ' + nodes.map(node => node.target + ' ' + node.failureSummary).join('; ')))`)
    wrong.forEach(said)
    const [wide, shown] = await browser.run('[document.documentElement.scrollWidth, innerWidth]')
    if (wide > shown) said(`${wide} wide`)
    await browser.picture(`${page}-${language}-${shape.width}${shape.dark ? '-dark' : ''}`)
  }
  await keyboard(text => found.push(`${page} (${language}): ${text}`))
}

/** Goes through a page with the keyboard alone: it ends where it began, and what has the focus shows it. */
async function keyboard(said) {
  const all = await browser.run(`[...document.querySelectorAll('a[href], button, input, select, textarea, summary')]
    .filter(it => !it.disabled && it.type !== 'hidden' && it.checkVisibility()).length`)
  const next = async () => {
    await browser.press('Tab')
    return browser.run(`(() => {
      const it = document.activeElement
      const style = getComputedStyle(it)
      const shows = style.outlineStyle !== 'none' || style.boxShadow !== 'none'
      const place = [...document.querySelectorAll('*')].indexOf(it)
      return it === document.body ? null : { place, shows, text: it.outerHTML.slice(0, 80) }
    })()`)
  }
  // Some pages begin within: from the end on, it goes on at the top.
  const reached = new Map()
  for (let steps = 0; steps < 2 * all + 2; steps += 1) {
    const at = await next()
    if (at) reached.set(at.place, at)
  }
  for (const { shows, text } of reached.values()) if (!shows) said(`the focus is not seen on ${text}`)
  if (reached.size < all) said(`the keyboard reaches ${reached.size} of ${all}`)
}
