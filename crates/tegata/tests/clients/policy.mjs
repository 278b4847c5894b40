// The policy of the pages (CSP), in a real browser: the one script that stands in a page runs, because it has the nonce of
// its answer; whatever else somebody gets into a page does not.

import { Chromium, assert, demo } from './chromium.mjs'
import { declare, listen, somebody } from './demo.mjs'

const browser = await Chromium.start()
try {
  await browser.speaks('en')
  const { username, password } = await somebody()
  await postsItself(username, password)
  await runsNothingElse()
} finally {
  await browser.end()
}

/** A page into which somebody got what they could: the headers are ours, and the text is theirs. */
async function runsNothingElse() {
  await browser.visit('/oauth2/logout', 'button[value=logout]')
  await browser.leads(() => browser.click('button[value=logout]'), 'h1')
  const reached = []
  const stranger = await listen(({ request }, response) => {
    reached.push(request.url)
    response.writeHead(200, { 'content-type': 'text/javascript', 'access-control-allow-origin': '*' }).end('ran.push(document.currentScript?.src ?? "module")')
  })
  const nonces = []
  const restore = await browser.alters(`${demo.issuer}/login`, text => {
    const nonce = text.match(/nonce="([^"]+)"/)[1]
    nonces.push(nonce)
    const other = nonces.length > 1 ? nonces[0] : 'AAAAAAAAAAAAAAAAAAAAAA'
    // With the nonce: what looks on. It shows that the text does arrive, and that scripts of the page's own run.
    const looks = `<script nonce="${nonce}">
      globalThis.ran = ['nonce']
      globalThis.refused = []
      addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) => refused.push(effectiveDirective + ' ' + blockedURI))
    </script>`
    const theirs = `
      <script>ran.push('inline')</script>
      <script nonce="">ran.push('empty nonce')</script>
      <script nonce="${other}">ran.push('nonce of another answer')</script>
      <script type="module">ran.push('inline module')</script>
      <script src="${stranger.address}/classic.js"></script>
      <script type="module" src="${stranger.address}/module.js"></script>
      <script src="data:text/javascript,ran.push('data')"></script>
      <img src="data:," onerror="ran.push('handler')">
      <a id="link" href="javascript:ran.push('address')">here</a>
      <style>body { --got: in }</style>
      <p id="styled" style="--got: in"></p>
      <iframe srcdoc="<script>parent.ran.push('frame')</script>"></iframe>
      <object data="data:text/html,x"></object>
      <base href="${stranger.address}/">
      <form id="leads" method="post" action="${stranger.address}/form"><input name="password"></form>`
    return text.replace('<head>', `<head>${looks}`).replace('</main>', `</main>${theirs}`)
  })
  const blocked = async () => {
    await browser.visit('/login', '#username')
    // What a script of the page makes is no better than what stands in it.
    await browser.run(`(() => {
      const put = (name, has) => document.body.append(Object.assign(document.createElement(name), has))
      put('script', { textContent: "ran.push('made')" })
      put('script', { src: 'data:text/javascript,ran.push(1)' })
      document.body.insertAdjacentHTML('beforeend', '<svg onload="ran.push(2)"></svg>')
      document.querySelector('#link').click()
      document.querySelector('#leads').requestSubmit()
    })()`)
    await browser.until("refused.some(it => it.startsWith('form-action'))")
    // In a task of the page's own: what the developer tools run may evaluate.
    const evaluated = await browser.run(`new Promise(resolve => {
      setTimeout(() => { try { resolve(Function('return 1')()) } catch (error) { resolve(error.name) } })
    })`)
    return { evaluated, ...await browser.run('({ ran, refused: [...new Set(refused)], base: document.baseURI, at: location.pathname })') }
  }
  const inline = 'script-src-elem inline'
  const first = await blocked()
  const second = await blocked()
  await restore()
  stranger.close()
  assert.deepEqual(first.ran, ['nonce'])
  assert.deepEqual(second.ran, ['nonce'], 'the nonce of another answer let something run')
  assert.deepEqual([first.evaluated, second.evaluated], ['EvalError', 'EvalError'])
  assert.equal(new Set(nonces).size, nonces.length)
  for (const { refused, base, at } of [first, second]) {
    const wanted = [inline, 'script-src-attr inline', 'style-src-elem inline', 'style-src-attr inline', 'script-src-elem data', `script-src-elem ${stranger.address}/classic.js`,
      `script-src-elem ${stranger.address}/module.js`, 'object-src data', `form-action ${stranger.address}/form`, `base-uri ${stranger.address}/`]
    for (const one of wanted) assert(refused.includes(one), `${one} is not among ${refused.join(', ')}`)
    assert.deepEqual([new URL(base).origin, at], [demo.issuer, '/login'])
  }
  assert.deepEqual(reached, [], 'a stranger was asked')
}

/** The answer in a form (`response_mode=form_post`): it posts itself, by the only script that stands in a page. */
async function postsItself(username, password) {
  const told = []
  const client = await listen(({ request, body }, response) => {
    if (request.method === 'POST') told.push(new URLSearchParams(body))
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>client</title><h1 id="client">back</h1>')
  })
  const redirect_uri = `${client.address}/callback`
  const { client_id } = await declare({ redirect_uris: [redirect_uri], public: true, grant_types: ['authorization_code'], scope: 'openid' })
  const asked = state => `/oauth2/authorize?${new URLSearchParams({
    response_type: 'code', response_mode: 'form_post', client_id, redirect_uri, scope: 'openid', state,
    code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', code_challenge_method: 'S256',
  })}`
  const refused = await browser.violations()
  await browser.visit(asked('first'), '#username')
  await browser.type('#username', username)
  await browser.type('#password', password)
  await browser.leads(() => browser.click('form button.main'), 'button[value=allow]')
  await browser.leads(() => browser.click('button[value=allow]'), '#client')
  // Agreed to once: straight there, by the page alone.
  await browser.visit(asked('second'), '#client')
  assert.deepEqual(told.map(it => it.get('state')), ['first', 'second'])
  for (const it of told) {
    assert.equal(it.get('iss'), demo.issuer)
    assert(it.get('code').length > 20)
  }
  assert.deepEqual(refused, [])

  // Without scripts it waits for the button.
  await browser.scripts(false)
  await browser.visit(asked('third'), '#back button')
  assert.equal(told.length, 2)
  await browser.scripts(true)
  client.close()
}
