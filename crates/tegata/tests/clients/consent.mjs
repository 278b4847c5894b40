// The banner that asks for consent to cookies, in a real browser, on a page with the policy of our own pages:
// put in with two lines, used with the keyboard alone, opened again, and taken back.

import { Chromium, assert } from './chromium.mjs'
import { Look } from './look.mjs'
import { password, person } from './people.mjs'

const browser = await Chromium.start()

/** The banner, from within the page; nothing, before its script is there. */
const root = "(document.querySelector('tegata-consent').shadowRoot ?? new DocumentFragment())"
const inBanner = selector => `${root}.querySelector(${JSON.stringify(selector)})`
const isShown = `!!${inBanner('section')} && !!${root}.querySelector('link')?.sheet`
const focused = `${root}.activeElement?.textContent ?? ''`

function named(text) {
  return `[...${root}.querySelectorAll('button')].find(it => it.textContent === ${JSON.stringify(text)})`
}

async function put(lang) {
  await browser.visit('/login', '#username')
  await browser.run(`(() => {
    document.documentElement.lang = ${JSON.stringify(lang)}
    window.told = []
    document.addEventListener('consent', ({ detail }) => window.told.push(detail))
    const opener = document.createElement('button')
    opener.type = 'button'
    opener.id = 'opener'
    opener.dataset.consentSettings = ''
    opener.hidden = true
    opener.textContent = 'Cookie settings'
    document.body.append(opener)
    const script = document.createElement('script')
    script.type = 'module'
    script.src = '/api/consent/banner.js'
    document.head.append(script)
    document.body.prepend(document.createElement('tegata-consent'))
  })()`)
}

const consent = () => browser.run("fetch('/api/consent').then(answer => answer.json())")

async function all() {
  // It comes with its style, under the policy of the page, and takes nobody's focus.
  await put('en')
  await browser.until(isShown)
  assert.equal(await browser.run('document.activeElement.id'), 'username')
  assert.equal(await browser.run(`getComputedStyle(${inBanner('section')}).position`), 'fixed')
  assert.equal(await browser.run(`${inBanner('section')}.getAttribute('aria-labelledby')`), 'heading')
  assert.equal(await browser.run(`${inBanner('form')}.hidden`), true)
  await browser.picture('banner')

  // Refusing is as easy as agreeing: the same button. Both are looked at at once, as the page around them may still move.
  const [refuse, accept] = await browser.run(`[${named('Refuse all')}, ${named('Accept all')}].map(it => {
    const { width, height } = it.getBoundingClientRect()
    const { color, backgroundColor, fontWeight } = getComputedStyle(it)
    return [Math.round(width), Math.round(height), color, backgroundColor, fontWeight]
  })`)
  assert.deepEqual(refuse, accept)

  // Through it and out of it with the Tab key.
  await browser.run('document.body.tabIndex = -1; document.body.focus()')
  const seen = []
  for (let step = 0; step < 8; step += 1) {
    await browser.press('Tab')
    seen.push(await browser.run(focused) || await browser.run('document.activeElement.id'))
  }
  for (const text of ['Refuse all', 'Accept all', 'Settings', 'username']) assert(seen.includes(text), seen.join())

  // Refused with the keyboard. What a script had set is taken away.
  await browser.run("document.cookie = '_ga=1; path=/'; document.cookie = 'utm_source=2; path=/'")
  await browser.run(`${named('Refuse all')}.focus()`)
  await browser.press('Enter')
  await browser.until(`!${inBanner('section')}`)
  let told = await consent()
  assert.equal(told.decided, true)
  assert.deepEqual([told.settings.analytics, told.settings.marketing], [false, false])
  assert.equal(await browser.run('document.cookie'), '')
  assert.equal(await browser.run('told.length'), 1)

  // Not asked again; opened again, with the focus on its heading and back where it came from.
  await put('en')
  await browser.until("!document.querySelector('#opener').hidden && told.length === 1")
  assert.equal(await browser.run(`!!${inBanner('section')}`), false)
  await browser.run("document.querySelector('#opener').focus(); document.querySelector('#opener').click()")
  await browser.until(isShown)
  await browser.until(`${focused} === 'Cookies'`)
  assert.equal(await browser.run(`${inBanner('form')}.hidden`), false)
  assert.equal(await browser.run(`${inBanner('#essential')}.disabled && ${inBanner('#essential')}.checked`), true)
  await browser.picture('settings')
  await browser.press('Escape')
  await browser.until(`!${inBanner('section')}`)
  assert.equal(await browser.run('document.activeElement.id'), 'opener')
  assert.equal((await consent()).settings.analytics, false)

  // Some of it agreed to.
  await browser.run("document.querySelector('#opener').click()")
  await browser.until(isShown)
  await browser.run(`${inBanner('#analytics')}.click(); ${named('Save settings')}.click()`)
  await browser.until(`!${inBanner('section')}`)
  told = await consent()
  assert.deepEqual([told.settings.analytics, told.settings.marketing], [true, false])
  assert.equal(await browser.run('told.at(-1).analytics && !told.at(-1).marketing'), true)
  // No script can read or write it.
  await browser.run("document.cookie = 'cookie_consent=1.1.1.am.x; path=/'")
  assert.equal(await browser.run('document.cookie'), '')
  assert.equal((await consent()).settings.analytics, true)

  // Taken back, and asked anew, in Japanese.
  await browser.run("fetch('/api/consent', { method: 'DELETE' }).then(answer => answer.status)")
  await put('ja')
  await browser.until(isShown)
  assert.equal(await browser.run(`${inBanner('h2')}.textContent`), 'Cookie について')
  assert.equal(await browser.run(`!!${named('すべて拒否する')}`), true)
  await browser.picture('japanese')

  // Whoever is signed in chooses as themselves, and their session's token goes along.
  const { name: username } = await person('customer')
  await put('en')
  await browser.until(isShown)
  const credentials = JSON.stringify({ username, password })
  const signIn = `fetch('/api/auth/login', {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: ${JSON.stringify(credentials)},
  }).then(answer => answer.json())`
  const { csrf_token: csrf } = await browser.run(signIn)
  const bare = await browser.run(`fetch('/api/consent', { method: 'DELETE' }).then(answer => answer.status)`)
  assert.equal(bare, 403)
  await browser.run(`${named('Accept all')}.click()`)
  await browser.until(`!${inBanner('section')}`)
  assert.equal((await consent()).settings.marketing, true)
  const records = await browser.run("fetch('/api/consent/records').then(answer => answer.json())")
  assert.deepEqual(records.records.map(it => it.categories), [['analytics', 'marketing']])
  for (const [method, path] of [['DELETE', '/api/consent'], ['POST', '/api/auth/logout']]) {
    const asked = `{ method: '${method}', headers: { 'X-CSRF-Token': ${JSON.stringify(csrf)} } }`
    assert((await browser.run(`fetch('${path}', ${asked}).then(answer => answer.status)`)) < 300)
  }

  // Everybody can use it, on a telephone and in the dark as well: as it asks, and as it is set.
  for (const lang of ['en', 'ja']) {
    await browser.speaks(lang)
    const look = new Look(browser, lang)
    await put(lang)
    await browser.until(isShown)
    await look.at('banner-asks')
    const [settings, refuse, accept] = { en: ['Settings', 'Refuse all', 'Accept all'], ja: ['詳細設定', 'すべて拒否する', 'すべて許可する'] }[lang]
    // On the telephone, too, refusing is as large as agreeing.
    const [one, other] = await browser.run(`[${named(refuse)}, ${named(accept)}].map(it => {
      const { width, height } = it.getBoundingClientRect()
      return [Math.round(width), Math.round(height)]
    })`)
    assert.deepEqual(one, other)
    await browser.run(`${named(settings)}.click()`)
    await browser.until(`!${inBanner('form')}.hidden`)
    await look.at('banner-settings')
    assert.deepEqual(look.found, [])
  }
}

try {
  await all()
} finally {
  await browser.end()
}
