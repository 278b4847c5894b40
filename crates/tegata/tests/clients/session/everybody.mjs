// The shop's page, and the notice that the browser SDK puts into pages of others: whether everybody can use them, in
// one language, light and dark, on a phone and on a desk.

import { Look } from '../look.mjs'
import { assert, town } from './town.mjs'

const language = process.env.TEGATA_LANGUAGE
const REFUSE = { en: 'Refuse all', ja: 'すべて拒否する' }[language]

await town(async town => {
  const person = await town.person()
  const fresh = await town.tab('/test/page')
  assert.equal(await fresh.run('session.logout()'), true)
  const tab = await town.tab('/test/plain')
  const look = new Look(tab, language)
  const press = selector => tab.run(`document.querySelector(${JSON.stringify(selector)}).click()`)
  const fill = (selector, text) => tab.run(`(() => {
    const it = document.querySelector(${JSON.stringify(selector)})
    it.value = ${JSON.stringify(text)}
    for (const name of ['input', 'change']) it.dispatchEvent(new Event(name, { bubbles: true }))
  })()`)

  const { userAgent } = await town.tools.call('Browser.getVersion')
  await tab.call('Emulation.setUserAgentOverride', { userAgent, acceptLanguage: language })
  // The banner stands before it, in the page's language.
  const banner = "document.querySelector('tegata-consent').shadowRoot"
  const refuse = `[...(${banner}?.querySelectorAll('button') ?? [])].find(it => !it.hidden && it.textContent === '${REFUSE}')`
  await tab.go('/shop/')
  await tab.until(`document.documentElement.lang === '${language}' && !!${refuse}`)
  await tab.until("document.querySelectorAll('#products li').length === 24")
  await look.at('shop-asks', 'tegata-consent')
  await tab.run(`${refuse}.click()`)
  await tab.until(`${banner}.querySelector('section')?.checkVisibility() !== true`)
  await look.at('shop')

  await press('#products li button')
  await tab.until("document.querySelector('#door').open")
  await look.at('shop-door', '#door')
  await fill('#username', person.name)
  await fill('#password', 'not the password')
  await press('#signin .main')
  await tab.until("document.querySelector('#refused').textContent !== ''")
  await look.at('shop-refused', '#door')
  await fill('#password', person.password)
  await press('#signin .main')
  await tab.until("document.querySelector('#count').textContent === '1'")
  await tab.run("location.hash = '#cart'")
  await tab.until("!document.querySelector('#checkout').hidden && !document.querySelector('#cart').hidden")
  await look.at('shop-cart')
  for (const [name, value] of Object.entries({ name: 'Maria', street: 'Nihonbashi 1', postcode: '103-0027', city: 'Tokyo' })) {
    await fill(`#checkout [name=${name}]`, value)
  }
  await press('#checkout .main')
  await tab.until("document.querySelectorAll('#placed li').length === 1")
  await look.at('shop-orders')

  // The page of others is theirs; what stands in it of ours is looked at.
  await town.person()
  const other = await town.tab(`/test/page?lang=${language}`, true)
  await other.run('session.user()')
  await other.run(`(async () => {
    const { csrf_token } = await fetch('/api/auth/csrf').then(answer => answer.json())
    await fetch('/api/auth/logout', { method: 'POST', headers: { 'X-CSRF-Token': csrf_token } })
    await session.fetch('/echo/x')
  })()`)
  await other.until("!!document.querySelector('.tegata-notice')")
  const notice = new Look(other, language)
  await notice.at('notice', '.tegata-notice')
  assert.deepEqual([...look.found, ...notice.found], [])
})
