// The console, as an administrator has it: every page in both languages, light and dark, on a phone and on a
// desk, and what it shows when something is taken back elsewhere.

import { randomUUID } from 'node:crypto'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Chromium, assert, demo } from './chromium.mjs'
import { Look } from './look.mjs'
import { password, person, run } from './people.mjs'

const language = process.env.TEGATA_LANGUAGE
const browser = await Chromium.start()
const look = new Look(browser, language)
try {
  await walk(await person('admin'), await person('customer'))
} finally {
  await browser.end()
}
assert.deepEqual(look.found, [])

async function walk(admin, other) {
  await browser.speaks(language)
  const refused = await browser.violations()
  const live = () => browser.until("document.querySelector('#stream.live')")
  /** What the page of requests says of one that is called so. */
  const told = async name => {
    await browser.visit(`/console/requests?q=${encodeURIComponent(name)}`, '.of-requests')
    return browser.run("document.querySelector('main').innerText")
  }

  // Signed in, and back to the page that was asked for.
  await browser.visit('/console/revocations', '#username')
  await browser.type('#username', admin.name)
  await browser.type('#password', password)
  await browser.leads(() => browser.click('form button.main'), '#kind')
  await live()
  await look.at('console-revocations')

  const jti = await issued(other)

  await browser.visit('/console', '.of-points')
  await live()
  await browser.until("document.querySelector('.of-health .dot.good')")
  await browser.until("document.querySelector('.plot .line.one').getAttribute('d')")
  // What somebody else takes back is seen here, without a click, with who refuses it.
  const loaded = await browser.run('performance.timeOrigin')
  await run('revoke', '--user', other.name, '--reason', 'console-test')
  const row = `[...document.querySelectorAll('.of-latest li')].find(it => it.textContent.includes(${JSON.stringify(other.id)}))`
  await browser.until(`${row}?.querySelector('.said.good')`)
  const said = await browser.run(`${row}.innerText`)
  assert.match(said, /console-test/)
  assert.match(said, /operator/)
  assert.match(said, language === 'en' ? /Refused by the only point after \d+ ms/ : /唯一の検証ポイントが \d+ ミリ秒後に拒否/)
  assert.equal(await browser.run('performance.timeOrigin'), loaded, 'the page was loaded anew')
  await look.at('console')

  for (const page of ['sessions', 'clients', 'keys', 'api-keys', 'users']) {
    await browser.visit(`/console/${page}`, '.block')
    await look.at(`console-${page}`)
  }
  // Why a request was refused, and why another passed; and one that nobody made, and what is no name.
  await browser.visit('/console/requests', '#q')
  await look.at('console-requests')
  const asked = async headers => (await fetch(`${demo.gateway}/orders/orders`, { headers })).headers.get('x-request-id')
  const refusal = await asked({ authorization: 'Bearer not.a.token' })
  // The record is on its way to the log when the answer is there.
  while (!/token_malformed/.test(await told(refusal)));
  await look.at('console-request')
  await told(randomUUID())
  await look.at('console-request-unknown')
  await told('<b>no name</b>')
  await look.at('console-request-no-name')

  await browser.visit('/console/clients/demo-web', '.of-acts')
  await look.at('console-client')

  // The life of a token is found by its name, and tells who got it and what took it back.
  await browser.visit('/console/tokens', '#q')
  await browser.type('#q', jti)
  await browser.leads(() => browser.click('.of-search button'), '.of-token .facts')
  const life = await browser.run("document.querySelector('.of-token').innerText")
  for (const told of [jti, other.id, 'console-test', 'operator']) assert(life.includes(told), `${told}: ${life}`)
  await browser.visit(`/console/tokens/${jti}`, '.of-token .facts')
  await look.at('console-token')
  // What no token is called is said in words, and is markup for nobody.
  await browser.visit(`/console/tokens/${encodeURIComponent('<img src=x onerror=alert(1)>')}`, '.of-token .said')
  assert.equal(await browser.run("document.querySelector('.of-token img')"), null)
  await look.at('console-token-unknown')

  // A person is found by a part of the name, and loses everything; the page says who refuses it.
  await browser.visit(`/console/users?q=${other.name.slice(0, 30)}`, '.of-people a')
  const link = `.of-people a[href*="${other.id}"]`
  await browser.leads(() => browser.run(`document.querySelector('${link}').click()`), '#reason')
  await look.at('console-user')
  await browser.type('#reason', 'lost phone')
  await browser.leads(() => browser.click('button[value=kill]'), 'button[name=confirmed]')
  await look.at('console-sure')
  await browser.leads(() => browser.click('button[name=confirmed]'), '.verdict')
  await browser.until("document.querySelector('.verdict.good')")
  await look.at('console-done')

  // The keyboard alone ends a session, and it goes from the list.
  const here = `/console/users/${admin.id}`
  await browser.visit(here, '.of-sessions li')
  await browser.run("document.querySelector('.of-sessions button').focus()")
  // What comes meanwhile takes the focus from nobody.
  await live()
  await browser.leads(() => browser.press('Enter'), 'button[name=confirmed]')
  await browser.leads(() => browser.click('.choice a'), '.of-sessions li')

  // Without scripts, the same.
  await browser.scripts(false)
  await browser.visit('/console', '.of-latest li')
  await browser.visit('/console/revocations', '#kind')
  await browser.scripts(true)

  // Whoever loses the role sees no more of it.
  await browser.visit('/console', '.of-points')
  await live()
  const gone = browser.leads(async () => {}, 'a[href*="another=true"]')
  const file = join(await mkdtemp(join(tmpdir(), 'tegata-console-')), 'user.toml')
  await writeFile(file, `[[user]]\nusername = ${JSON.stringify(admin.name)}\nroles = ["customer"]\n`)
  await run('apply', file)
  await gone
  await look.at('console-no-role')
  assert.deepEqual(refused, [])
}

/** The name of a token that somebody gets. */
async function issued(someone) {
  const answer = await fetch(`${demo.issuer}/api/auth/login`, {
    method: 'POST',
    headers: { origin: demo.issuer, 'content-type': 'application/json' },
    body: JSON.stringify({ username: someone.name, password }),
  })
  assert.equal(answer.status, 200)
  const { access_token: token } = await answer.json()
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).jti
}
