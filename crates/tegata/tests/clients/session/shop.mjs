// The shop's page, as somebody uses it: looks, signs in, fills the cart, orders, signs out; in both languages,
// and under a policy that nothing offends.

import { assert, town, until } from './town.mjs'

const VIOLATIONS = `
  globalThis.violations = []
  addEventListener('securitypolicyviolation', event => { violations.push(event.violatedDirective + ' ' + event.blockedURI) })
`

await town(async town => {
  const person = await town.person()
  const fresh = await town.tab('/test/page')
  assert.equal(await fresh.run('session.logout()'), true)
  const tab = await town.tab('/test/plain')
  await tab.call('Page.addScriptToEvaluateOnNewDocument', { source: VIOLATIONS })
  await tab.go('/shop/')
  const press = selector => tab.run(`document.querySelector(${JSON.stringify(selector)}).click()`)
  const fill = (selector, text) => tab.run(`(() => {
    const it = document.querySelector(${JSON.stringify(selector)})
    it.value = ${JSON.stringify(text)}
    for (const name of ['input', 'change']) it.dispatchEvent(new Event(name, { bubbles: true }))
  })()`)
  const text = selector => tab.run(`document.querySelector(${JSON.stringify(selector)}).textContent`)

  // Everybody may look.
  await tab.until("document.querySelectorAll('#products li').length === 24")
  await tab.picture('shop')

  // Nobody is counted who was not asked, or said no; whoever says yes is, until they change their mind.
  const counted = () => tab.run('document.cookie.includes("shop_visits=")')
  const answer = async name => {
    const pressed = `[...document.querySelector('tegata-consent').shadowRoot.querySelectorAll('button')]
      .find(it => !it.hidden && it.textContent === ${JSON.stringify(name)})`
    await tab.until(`!!${pressed}`)
    await tab.run(`${pressed}.click()`)
    await tab.until("document.querySelector('tegata-consent').shadowRoot.querySelector('section')?.checkVisibility() !== true")
  }
  const settings = "document.querySelector('[data-consent-settings]')"
  assert.equal(await counted(), false)
  await answer('Refuse all')
  await tab.go('/shop/')
  await tab.until(`!${settings}.hidden`)
  assert.equal(await counted(), false)
  await tab.run(`${settings}.click()`)
  await answer('Accept all')
  await until(counted)
  await tab.run(`${settings}.click()`)
  await answer('Refuse all')
  await until(async () => !(await counted()))
  await tab.until("document.querySelectorAll('#products li').length === 24")
  await fill('#search', 'map')
  await tab.until("document.querySelectorAll('#products li').length === 3")
  await press('#lang')
  assert.deepEqual([await text('h1 span:last-child'), await tab.run('document.documentElement.lang')], ['旅人の店', 'ja'])
  await fill('#search', '')
  await tab.picture('shop-ja')
  await press('#lang')
  assert.equal(await text('#in'), 'Sign in')

  // Whoever takes something is asked who they are, and then has it.
  await press('#products li button')
  await tab.until("document.querySelector('#door').open")
  await tab.picture('shop-door')
  await fill('#username', person.name)
  await fill('#password', 'not the password')
  await press('#signin .main')
  await tab.until("document.querySelector('#refused').textContent.includes('wrong')")
  await fill('#password', person.password)
  await press('#signin .main')
  await tab.until("document.querySelector('#count').textContent === '1'")
  assert.equal(await text('#who'), person.name)
  assert.equal(await tab.run("document.querySelector('#door').open"), false)
  assert.equal(await tab.run("document.querySelector('#password').value"), '')

  // One answer from three services says who that is, and how they like to see the page.
  await tab.until("!document.querySelector('#avatar').hidden && document.querySelector('#avatar').naturalWidth > 0")
  assert.equal(await tab.run("document.querySelector('#unread').hidden"), true)
  await fill('#theme', 'dark')
  await tab.until("document.documentElement.dataset.theme === 'dark'")
  const paper = () => tab.run('getComputedStyle(document.body).backgroundColor')
  assert.equal(await paper(), 'rgb(20, 21, 26)')

  // It is ordered once.
  await tab.run("location.hash = '#cart'")
  await tab.until("!document.querySelector('#checkout').hidden && !document.querySelector('#cart').hidden")
  for (const [name, value] of Object.entries({ name: 'Maria', street: 'Nihonbashi 1', postcode: '103-0027', city: 'Tokyo' })) {
    await fill(`#checkout [name=${name}]`, value)
  }
  await tab.picture('shop-cart')
  await press('#checkout .main')
  await tab.until("document.querySelectorAll('#placed li').length === 1")
  assert.match(await text('#placed li'), /1 × .*placed/)
  assert.equal(await tab.run("document.querySelector('#count').hidden"), true)
  await tab.picture('shop-orders')

  // A page that is loaded anew knows the person; one that signs out knows nobody.
  await tab.go('/shop/')
  await tab.until(`document.querySelector('#who').textContent === ${JSON.stringify(person.name)}`)
  await tab.until("document.documentElement.dataset.theme === 'dark'")
  // Whoever ordered was told so, and has not read it.
  await tab.until("Number(document.querySelector('#unread').textContent) > 0")
  await press('#out')
  await tab.until("!document.querySelector('#in').hidden")
  assert.equal(await tab.run("document.documentElement.dataset.theme"), 'system')
  assert.equal(await text('#who'), '')
  await until(async () => !(await town.cookies()).session_id)
  assert.deepEqual(await tab.run('violations'), [])
  assert.equal(await tab.run("document.querySelectorAll('label:not(:has(input, select))').length"), 0)
})
