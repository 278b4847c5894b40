// What administrators change in the console, where two of them do so at once, and what is shown this once.

import { Chromium, assert, demo } from './chromium.mjs'
import { unique } from './demo.mjs'
import { Look } from './look.mjs'
import { password, person, run } from './people.mjs'

const language = process.env.TEGATA_LANGUAGE

const browser = await Chromium.start()
const look = new Look(browser, language)
try {
  await browser.speaks(language)
  await signIn(browser, (await person('admin')).name, '/console/sessions')
  await overtaken()
  await aClient()
  await anApiKey()
} finally {
  await browser.end()
}
assert.deepEqual(look.found, [])

async function signIn(at, name, page) {
  await at.visit(page, '#username')
  await at.type('#username', name)
  await at.type('#password', password)
  await at.leads(() => at.click('form button.main'), '.block')
}

/** Two administrators change the same person; whoever is late sees how it is, and goes on from there. */
async function overtaken() {
  const [other, rival] = [await person('customer'), await person('admin')]
  const here = `/console/users/${other.id}`
  const roles = async (at, names, selector) => {
    await at.run("document.querySelector('#roles').value = ''")
    await at.type('#roles', names)
    await at.leads(() => at.click('button[value=roles]'), 'button[name=confirmed]')
    await at.leads(() => at.click('button[name=confirmed]'), selector)
  }
  await browser.visit(here, '#roles')
  const second = await Chromium.start()
  try {
    await signIn(second, rival.name, here)
    await roles(second, 'customer auditor', '.verdict')
  } finally {
    await second.end()
  }
  // What is live shows it already; the form is of what was seen when the page was opened.
  await browser.until("document.querySelector('.of-person').innerText.includes('auditor')")
  await roles(browser, 'customer editor', '.of-overtaken [role=alert]')
  assert.equal(await browser.run("document.querySelector('#roles').value"), 'auditor customer')
  assert.equal(await browser.run("document.querySelector('.of-overtaken code').innerText"), 'customer editor')
  await look.at('console-overtaken')
  await roles(browser, 'auditor customer editor', '.verdict')
}

/** A client is given other addresses and a new secret, which is shown once, and disabled. */
async function aClient() {
  const id = unique('client')
  await run('client', 'add', id, '--name', 'ご注文と配送 A shop with quite a long name',
    '--redirect-uri', 'https://shop.example/back', '--scope', 'openid')
  const here = `/console/clients/${id}`
  await browser.visit(here, '#redirect_uris')
  await browser.run("document.querySelector('#redirect_uris').value += '\\nhttps://shop.example/a/second/and/rather/long/address/of/the/same/shop'")
  await look.at('console-client-change')
  await browser.leads(() => browser.click('button[value=change]'), 'button[name=confirmed]')
  await look.at('console-client-sure')
  await browser.leads(() => browser.click('button[name=confirmed]'), '#redirect_uris')
  assert.match(await browser.run("document.querySelector('.of-client').innerText"), /second\/and\/rather/)
  await browser.leads(() => browser.click('button[value=secret]'), 'button[name=confirmed]')
  await browser.leads(() => browser.click('button[name=confirmed]'), '.of-secret code')
  const secret = await browser.run("document.querySelector('.of-secret code').innerText")
  assert.ok(secret.length >= 20)
  await look.at('console-secret')
  const token = async () => {
    const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: 'rt_none' })
    const basic = Buffer.from(`${id}:${secret}`).toString('base64')
    const headers = { authorization: `Basic ${basic}` }
    return (await (await fetch(`${demo.issuer}/oauth2/token`, { method: 'POST', body, headers })).json()).error
  }
  assert.notEqual(await token(), 'invalid_client')
  await browser.leads(() => browser.click('.links a'), '#redirect_uris')
  assert.ok(!(await browser.run('document.documentElement.outerHTML')).includes(secret))
  await browser.leads(() => browser.click('button[value=disable]'), 'button[name=confirmed]')
  await browser.leads(() => browser.click('button[name=confirmed]'), '.verdict')
  assert.equal(await token(), 'invalid_client')
  await browser.leads(() => browser.click('.links a'), 'button[value=enable]')
}

/** An API key is made for a client, calls, is replaced while both count, and taken back. */
async function anApiKey() {
  const id = unique('archive')
  await run('client', 'add', id, '--grant-type', 'client_credentials')
  await browser.visit(`/console/clients/${id}`, '.of-client a[href*="api-keys"]')
  await browser.leads(() => browser.click('.of-client a[href*="api-keys"]'), '#key_client')
  assert.equal(await browser.run("document.querySelector('#key_client').value"), id)
  await browser.type('#key_name', '夜間エクスポート nightly export with quite a long name for a phone')
  await look.at('console-api-key-new')
  await browser.leads(() => browser.click('button[value=make]'), '.of-secret code')
  const shown = () => browser.run("document.querySelector('.of-secret code').innerText")
  const first = await shown()
  assert.match(first, /^sk_[0-9A-Za-z]{8}\.[0-9A-Za-z]{32}$/)
  await look.at('console-api-key-made')
  await browser.leads(() => browser.click('.links a'), '#grace')
  assert.ok(!(await browser.run('document.documentElement.outerHTML')).includes(first))
  await look.at('console-api-key')
  await browser.leads(() => browser.click('button[value=rotate]'), 'button[name=confirmed]')
  await browser.leads(() => browser.click('button[name=confirmed]'), '.of-secret code')
  const second = await shown()
  assert.notEqual(second, first)
  await browser.leads(() => browser.click('.links a'), '#reason')
  // The one before names it, counts still, and has no other successor.
  await browser.leads(() => browser.click('.of-api-key a'), '.of-api-key .tag.waits')
  assert.equal(await browser.run("document.querySelector('#grace')"), null)
  await browser.type('#reason', 'found in a log')
  await browser.leads(() => browser.click('button[value=revoke]'), 'button[name=confirmed]')
  await look.at('console-api-key-sure')
  await browser.leads(() => browser.click('button[name=confirmed]'), '.verdict')
  await browser.visit(`/console/api-keys?client=${id}`, '.of-api-keys li:nth-child(2)')
  await look.at('console-api-keys')
  assert.equal(await browser.run("document.querySelectorAll('.of-api-keys .tag.bad').length"), 1)
  assert.equal(await browser.run("document.querySelectorAll('.of-api-keys .tag.good').length"), 1)
}
