// The pages in an operator's colours, and the banner for cookies in others than its own.

import { Chromium, assert, demo } from './chromium.mjs'
import { CALLBACK } from './demo.mjs'
import { Look } from './look.mjs'

const language = process.env.TEGATA_LANGUAGE
const [admin] = demo.users
const browser = await Chromium.start()
const looks = new Look(browser, language)
const look = page => looks.at(`themed-${page}`)
/** A colour of an element, as the browser shows it. */
const shows = (selector, property) => browser.run(`getComputedStyle(${selector})[${JSON.stringify(property)}]`)
try {
  await browser.speaks(language)
  const refused = await browser.violations()
  await walk()
  looks.found.push(...refused)
} finally {
  await browser.end()
}
assert.deepEqual(looks.found, [])

async function walk() {
  const main = () => browser.click('form button.main')
  const banner = "document.querySelector('tegata-consent').shadowRoot"
  const named = text => `[...${banner}.querySelectorAll('button')].find(it => it.textContent === ${JSON.stringify(text)})`
  const [refuse, accept, settings] = {
    en: ['Refuse all', 'Accept all', 'Settings'], ja: ['すべて拒否する', 'すべて許可する', '詳細設定'],
  }[language]
  await browser.offers(false)
  await browser.visit('/login', '#username')
  assert.match(await browser.run('document.title'), / · Example Travel$/)
  await browser.until(`!!${banner}?.querySelector('section') && !!${banner}.querySelector('link')?.sheet`)
  // The theme is there: in the page, and in what stands apart from it.
  await browser.looks({ width: 1280, height: 900, dark: false })
  assert.equal(await shows("document.querySelector('form button.main')", 'backgroundColor'), 'rgb(11, 93, 78)')
  assert.equal(await shows('document.body', 'backgroundColor'), 'rgb(233, 242, 239)')
  assert.equal(await shows(`${banner}.querySelector('section')`, 'backgroundColor'), 'rgb(11, 93, 78)')
  assert.equal(await shows(named(refuse), 'backgroundColor'), 'rgb(255, 224, 138)')
  assert.equal(await shows(named(refuse), 'borderRadius'), '0px')
  assert.match(await shows(`${banner}.querySelector('section')`, 'fontFamily'), /Georgia/)
  await look('banner')
  const sides = text => browser.run(`(({ width, height }) => [width, height].map(Math.round))(${named(text)}.getBoundingClientRect())`)
  assert.deepEqual(await sides(refuse), await sides(accept), 'on a telephone, where there is little room')
  await browser.run(`${named(settings)}.click()`)
  await browser.until(`!${banner}.querySelector('form').hidden`)
  await look('banner-settings')
  await browser.run(`${named(refuse)}.click()`)
  await browser.until(`!${banner}.querySelector('section')`)

  await look('sign-in')
  await browser.type('#username', admin.username)
  await browser.type('#password', 'not this one')
  await browser.leads(main, '#problem')
  await look('sign-in-refused')
  await browser.visit('/nowhere', 'h1')
  await look('error')
  await browser.visit('/login', '#username')
  await browser.type('#username', admin.username)
  await browser.type('#password', admin.password)
  await browser.leads(main, 'form[action="/oauth2/logout"]')
  await look('account')
  const asked = new URLSearchParams({
    response_type: 'code', client_id: 'travel', redirect_uri: CALLBACK, scope: 'openid profile email', state: 'x',
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
  })
  await browser.visit(`/oauth2/authorize?${asked}`, 'button[value=allow]')
  await look('consent')
  await browser.visit('/login/device', '#user_code')
  await look('device')
  await browser.visit('/login/security', '#password')
  await browser.type('#password', admin.password)
  await browser.leads(() => browser.click('button[value=prove]'), 'button[value=begin]')
  await look('security')
  await browser.visit('/console/sessions', '.block')
  await look('console-sessions')
  await browser.visit('/console', '.of-points')
  await browser.until("document.querySelector('#stream.live')")
  await look('console')
}
