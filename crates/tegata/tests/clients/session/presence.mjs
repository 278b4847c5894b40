// A hostile script in a page behind the gateway has the origin of the sign-in pages and the person's cookies.
// It tries all that a script can to have a device and a client allowed in the person's name.

import { alice, CALLBACK, declare, unique } from '../demo.mjs'
import { assert, demo, town, until } from './town.mjs'

const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code'
const quoted = JSON.stringify

/** A device of the attacker's, which waits for somebody to allow it. */
async function device(client) {
  const body = new URLSearchParams({ client_id: client, scope: 'openid offline_access' })
  const answer = await fetch(`${demo.issuer}/oauth2/device`, { method: 'POST', body })
  const asked = await answer.json()
  assert.equal(answer.status, 200, quoted(asked))
  const told = async () => {
    const body = new URLSearchParams({ grant_type: DEVICE, client_id: client, device_code: asked.device_code })
    const answer = await fetch(`${demo.issuer}/oauth2/token`, { method: 'POST', body })
    return (await answer.json()).error ?? 'allowed'
  }
  return { code: asked.user_code, told }
}

/** It waits, however it is told so. */
const waits = said => assert(['authorization_pending', 'slow_down'].includes(said), said)

// Reads a page in every way that needs no window.
const READ = `async path => {
  const taken = []
  for (const mode of ['cors', 'no-cors', 'same-origin']) {
    taken.push(await fetch(path, { mode, credentials: 'include' }).then(it => it.text(), it => String(it)))
  }
  const ask = new XMLHttpRequest()
  ask.open('GET', path, false)
  ask.send()
  taken.push(ask.responseText)
  for (const [name, address] of [['iframe', 'src'], ['object', 'data'], ['embed', 'src']]) {
    const it = document.createElement(name)
    const loaded = new Promise(resolve => { it.onload = it.onerror = resolve; setTimeout(resolve, 3000) })
    it[address] = path
    document.body.append(it)
    await loaded
    let inside
    try { inside = it.contentDocument ?? it.getSVGDocument?.() } catch {}
    taken.push(inside?.documentElement?.outerHTML ?? '')
    it.remove()
  }
  return taken
}`

// Puts a page into a frame, and answers where that leads, if it can be read.
const FRAME = `async (path, sandbox) => {
  const it = document.createElement('iframe')
  if (sandbox !== null) it.sandbox = sandbox
  const loaded = new Promise(resolve => { it.onload = resolve; setTimeout(resolve, 3000) })
  it.src = path
  document.body.append(it)
  await loaded
  try { return it.contentWindow.location.href } catch { return 'out of reach' } finally { it.remove() }
}`

// Opens a page in a window, and answers what can be read there: of which form, or that the window is out of reach.
const REACH = `async path => {
  globalThis.opened = open(path)
  if (!opened) return 'no window'
  for (;;) {
    await new Promise(resolve => setTimeout(resolve, 20))
    if (opened.closed) return 'cut off'
    try {
      const form = opened.document.forms[0]
      if (form && opened.document.readyState === 'complete') return [...new FormData(form).keys()].join(' ')
    } catch { return 'another origin' }
  }
}`

// Sends a form in a window of its own.
const SEND = `(path, fields) => {
  const form = Object.assign(document.createElement('form'), { method: 'post', action: path, target: '_blank' })
  for (const [name, value] of Object.entries(fields)) form.append(Object.assign(document.createElement('input'), { name, value }))
  document.body.append(form)
  form.submit()
}`

// Does something in the window that was opened, and waits until it shows another page.
const THERE = `async work => {
  const before = opened.document
  work(opened.document)
  for (;;) {
    await new Promise(resolve => setTimeout(resolve, 20))
    if (opened.closed) return 'cut off'
    if (opened.document !== before && opened.document.readyState === 'complete') return opened.document.body.innerText
  }
}`

await town(async town => {
  const client = unique('television')
  await declare({ client_id: client, public: true, redirect_uris: [], grant_types: [DEVICE, 'refresh_token'], scope: 'openid offline_access' })
  const stranger = unique('stranger')
  const scope = 'openid profile offline_access'
  await declare({ client_id: stranger, public: true, scope, grant_types: ['authorization_code', 'refresh_token'] })
  const challenge = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
  const request = new URLSearchParams({
    client_id: stranger, response_type: 'code', redirect_uri: CALLBACK, scope, state: 'x', code_challenge: challenge, code_challenge_method: 'S256',
  })
  const authorize = `/oauth2/authorize?${request}`
  const person = await town.person()
  const tab = await town.tab('/test/hostile')
  const before = await town.cookies()
  assert(before.session_id && alice)

  // Nothing is read without a window, and no script hears of a code.
  for (const path of ['/login/device', '/login/security', '/', '/login?another=true', authorize, '/oauth2/logout']) {
    for (const text of await tab.run(`(${READ})(${quoted(path)})`)) {
      assert(!text.includes('csrf_token') && !text.includes('csrf-token'), `${path}: ${text}`)
    }
  }

  // Nor of a code of a client that is known, whose page has this origin: not from a frame in which no page can use it up.
  const own = unique('own')
  const back = `${demo.gateway}/test/plain`
  await declare({ client_id: own, public: true, redirect_uris: [back], asks_consent: false, scope, grant_types: ['authorization_code', 'refresh_token'] })
  const known = new URLSearchParams({ ...Object.fromEntries(request), client_id: own, redirect_uri: back, prompt: 'none' })
  for (const sandbox of [undefined, 'allow-same-origin']) {
    const led = await tab.run(`(${FRAME})(${quoted(`/oauth2/authorize?${known}`)}, ${quoted(sandbox ?? null)})`)
    assert(!led.includes('code='), led)
  }
  // It is known: in a window of the person's, the code comes at once.
  const theirs = await town.tab('/test/plain')
  await theirs.call('Page.navigate', { url: `${demo.gateway}/oauth2/authorize?${known}` })
  await until(() => theirs.run("/[?&]code=/.test(location.href)").catch(() => false))

  // A form with the token that scripts are given does nothing, though the window is real, and shows the person the form.
  const { code, told } = await device(client)
  const csrf_token = await tab.run("fetch('/api/auth/csrf').then(it => it.json()).then(it => it.csrf_token)")
  const sent = town.road.to('/login/device').length
  await tab.touched(`(${SEND})('/login/device', ${quoted({ csrf_token, user_code: code, decision: 'allow' })})`)
  await until(() => town.road.to('/login/device').slice(sent).some(it => it.method === 'POST' && it.status))
  assert.equal(town.road.to('/login/device').slice(sent).find(it => it.method === 'POST').status, 303)
  waits(await told())

  // A window that it opens is cut off from it, whatever its page says of itself.
  for (const path of ['/login/device', '/login/security', authorize]) {
    assert.equal(await tab.touched(`(${REACH})(${quoted(path)})`), 'cut off', path)
  }

  // Where the browser knows no such word, and its own page says the same as ours, it reaches into the window and clicks: what it says yes to is not
  // allowed without something that it does not have.
  town.road.firefox = true
  assert.match(await tab.touched(`(${REACH})('/login/device')`), /csrf_token.*user_code/)
  const asks = await tab.run(`(${THERE})(page => {
    page.forms[0].user_code.value = ${quoted(code)}
    page.forms[0].requestSubmit()
  })`)
  assert.match(asks, /show once more that it is you/)
  const yes = "page.forms[0].requestSubmit(page.querySelector('button[value=allow]'))"
  for (const typed of ['', 'guessed']) {
    const refused = await tab.run(`(${THERE})(page => {
      page.forms[0].password.required = false
      page.forms[0].password.value = ${quoted(typed)}
      ${yes}
    })`)
    assert.match(refused, /show once more that it is you/)
  }
  waits(await told())
  const consent = await tab.touched(`(${REACH})(${quoted(authorize)})`)
  assert.match(consent, /csrf_token request.* password/)
  const refused = await tab.run(`(${THERE})(page => { page.forms[0].password.required = false; ${yes} })`)
  assert.match(refused, /show once more that it is you/)

  // Nor does an elevation do that the person gave for something else.
  const elevated = await tab.run(`fetch('/api/auth/elevate', {
    method: 'POST', headers: { 'Content-Type': 'application/json', 'X-CSRF-Token': ${quoted(csrf_token)} },
    body: ${quoted(quoted({ password: person.password }))},
  }).then(it => it.status)`)
  assert.equal(elevated, 204)
  const again = await tab.run(`(${THERE})(page => { page.forms[0].password.required = false; ${yes} })`)
  assert.match(again, /show once more that it is you/)
  waits(await told())

  // The person allows it.
  town.road.firefox = false
  const window = await town.tab(`/login/device?user_code=${code}`)
  await window.run("document.forms[0].requestSubmit(); undefined")
  await until(() => window.run("!!document.querySelector('#password')").catch(() => false))
  await window.run(`document.querySelector('#password').value = ${quoted(person.password)}; document.querySelector('button[value=allow]').click(); undefined`)
  await until(() => window.run("/device is connected/.test(document.body.innerText)").catch(() => false))
})
