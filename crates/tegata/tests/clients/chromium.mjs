// A real browser with one page, and an authenticator that is a part of it and does as it is told.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { assert, demo, tellsWhenLate } from './demo.mjs'
import { DevTools } from './devtools.mjs'

/** Chromium with one page, as somebody sees it who has never been here. */
export class Chromium {
  #tools
  #session
  #unoffered
  #awaited

  static async start() {
    const browser = new Chromium()
    browser.#tools = await DevTools.start()
    browser.#session = await browser.#tools.firstPage()
    await browser.#call('WebAuthn.enable')
    tellsWhenLate(() => browser.#state())
    return browser
  }

  end() {
    return this.#tools.end()
  }

  #call(method, params) {
    return this.#tools.call(method, params, this.#session)
  }

  /** What this waits for, and what there is. */
  async #state() {
    const shown = await this.run('`${location.href}\\n${document.documentElement.outerHTML}`').catch(String)
    return `waits for ${this.#awaited}, and is at ${shown}`
  }

  /** What a script of the page answers. */
  run(expression) {
    return this.#tools.run(expression, this.#session)
  }

  /** Does what leads to another page, and answers when that page is there and shows what it has to. Every load counts
   *  from before that on: one that ended while the page before it is looked at would be waited for in vain. */
  async leads(action, selector) {
    this.#awaited = selector
    let loads = 0
    let loaded = () => {}
    const forget = this.#tools.on('Page.loadEventFired', this.#session, () => {
      loads += 1
      loaded()
    })
    try {
      await action()
      for (let looked = 0; ;) {
        while (loads === looked) await new Promise(resolve => { loaded = resolve })
        looked = loads
        const shown = await this.run(`!!document.querySelector(${JSON.stringify(selector)})`).catch(() => false)
        if (shown) return
      }
    } finally {
      forget()
    }
  }

  visit(path, selector) {
    return this.leads(() => this.#call('Page.navigate', { url: demo.issuer + path }), selector)
  }

  /** Answers when something is so on this page. */
  async until(expression) {
    this.#awaited = expression
    await this.run(`new Promise(resolve => {
      const look = () => ((${expression}) ? resolve() : setTimeout(look, 20))
      look()
    })`)
  }

  async type(selector, text) {
    await this.run(`document.querySelector(${JSON.stringify(selector)}).focus()`)
    await this.#call('Input.insertText', { text })
  }

  /** Clicks with the mouse, as passkeys ask for. What is live may move under the pointer, as it may for people: whoever
   *  has missed for a second clicks again. */
  async click(selector) {
    for (let again = false, met = false; !met; again = true) {
      const at = await this.run(`(() => {
        const it = document.querySelector(${JSON.stringify(selector)})
        if (!it) return null
        globalThis.met = new Promise(resolve => {
          it.addEventListener('click', () => resolve(true), { capture: true, once: true })
          globalThis.missed = () => setTimeout(resolve, 1_000, false)
        })
        it.scrollIntoView({ block: 'center' })
        const { left, top, width, height } = it.getBoundingClientRect()
        return { x: left + width / 2, y: top + height / 2 }
      })()`)
      // It has led to another page meanwhile.
      if (again && !at) return
      assert.ok(at, `there is no ${selector} to be clicked`)
      const button = { ...at, button: 'left', clickCount: 1 }
      await this.#call('Input.dispatchMouseEvent', { type: 'mousePressed', ...button })
      await this.#call('Input.dispatchMouseEvent', { type: 'mouseReleased', ...button })
      // Another page knows nothing of it, and one that is just going says nothing: both were led to.
      met = await this.run('globalThis.missed ? (globalThis.missed(), globalThis.met) : true').catch(() => true)
    }
  }

  /** Presses a key. */
  async press(key) {
    const codes = { Tab: 9, Enter: 13, Escape: 27 }
    const text = key === 'Enter' ? '\r' : undefined
    const pressed = { key, code: key, windowsVirtualKeyCode: codes[key], text }
    await this.#call('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', ...pressed })
    await this.#call('Input.dispatchKeyEvent', { type: 'keyUp', ...pressed, text: undefined })
  }

  text() {
    return this.run('document.body.innerText')
  }

  session() {
    return this.run("fetch('/api/auth/session').then(answer => answer.json())")
  }

  /** Whether passkeys are offered in fields. As somebody touches the authenticator whenever it asks, the first
   *  is then chosen at once. */
  async offers(on) {
    if (this.#unoffered) {
      await this.#call('Page.removeScriptToEvaluateOnNewDocument', { identifier: this.#unoffered })
      this.#unoffered = undefined
    }
    if (on) return
    const source = 'PublicKeyCredential.isConditionalMediationAvailable = async () => false'
    const { identifier } = await this.#call('Page.addScriptToEvaluateOnNewDocument', { source })
    this.#unoffered = identifier
  }

  /** Adds an authenticator that is a part of the device, knows its person, and is touched when it asks. */
  async authenticator() {
    const options = {
      protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true,
      hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true,
    }
    const { authenticatorId } = await this.#call('WebAuthn.addVirtualAuthenticator', { options })
    return {
      credentials: async () => {
        const { credentials } = await this.#call('WebAuthn.getCredentials', { authenticatorId })
        return credentials
      },
      remove: credentialId => this.#call('WebAuthn.removeCredential', { authenticatorId, credentialId }),
    }
  }

  /** Shows pages at this size, light or dark. */
  async looks({ width, height, dark }) {
    const size = { width, height, deviceScaleFactor: 1, mobile: width < 600 }
    await this.#call('Emulation.setDeviceMetricsOverride', size)
    const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]
    await this.#call('Emulation.setEmulatedMedia', { features })
  }

  /** Asks for pages in this language. */
  async speaks(acceptLanguage) {
    const { userAgent } = await this.#tools.call('Browser.getVersion')
    await this.#call('Emulation.setUserAgentOverride', { userAgent, acceptLanguage })
  }

  /** Collects what the browser refuses for the policy of a page. */
  async violations() {
    const seen = []
    this.#tools.on('Log.entryAdded', this.#session, ({ entry }) => {
      if (/Content Security Policy/.test(entry.text)) seen.push(entry.text)
    })
    await this.#call('Log.enable')
    return seen
  }

  /** Documents at these addresses arrive as `alter` makes them, under the headers that they were sent with. Answers what
   *  ends that. */
  async alters(urlPattern, alter) {
    const forget = this.#tools.on('Fetch.requestPaused', this.#session, async ({ requestId, responseStatusCode, responseHeaders }) => {
      const { body, base64Encoded } = await this.#call('Fetch.getResponseBody', { requestId })
      const text = Buffer.from(body, base64Encoded ? 'base64' : 'utf8').toString()
      const kept = responseHeaders.filter(({ name }) => !/^content-(length|encoding)$/i.test(name))
      const altered = { responseCode: responseStatusCode, responseHeaders: kept, body: Buffer.from(alter(text)).toString('base64') }
      await this.#call('Fetch.fulfillRequest', { requestId, ...altered })
    })
    await this.#call('Fetch.enable', { patterns: [{ urlPattern, resourceType: 'Document', requestStage: 'Response' }] })
    return async () => {
      await this.#call('Fetch.disable')
      forget()
    }
  }

  scripts(on) {
    return this.#call('Emulation.setScriptExecutionDisabled', { value: !on })
  }

  /** Keeps a picture of the page, where somebody wants to look at it. */
  async picture(name) {
    const directory = process.env.TEGATA_PICTURES
    if (!directory) return
    const { data } = await this.#call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true })
    await writeFile(join(directory, `${name}.png`), Buffer.from(data, 'base64'))
  }
}

export { assert, demo }
