// A real browser, driven by the protocol of its developer tools through a pipe, with an authenticator
// that is a part of it and does as it is told.

import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { assert, demo } from './demo.mjs'

/** Chromium with one page, as somebody sees it who has never been here. */
export class Chromium {
  #process
  #directory
  #session
  #asked = new Map()
  #heard = []
  #next = 1
  #unoffered

  static async start() {
    const browser = new Chromium()
    browser.#directory = await mkdtemp(join(tmpdir(), 'tegata-chromium-'))
    const flags = [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
      '--remote-debugging-pipe', '--disable-background-networking', '--lang=en-US', '--window-size=900,900',
      `--user-data-dir=${browser.#directory}`, 'about:blank',
    ]
    const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']
    browser.#process = spawn(demo.chromium, flags, { stdio })
    let said = ''
    browser.#process.stdio[4].setEncoding('utf8').on('data', part => {
      const messages = (said + part).split('\0')
      said = messages.pop()
      messages.forEach(message => browser.#hear(JSON.parse(message)))
    })
    const { targetInfos } = await browser.#call('Target.getTargets', {}, null)
    const { targetId } = targetInfos.find(target => target.type === 'page')
    const attached = await browser.#call('Target.attachToTarget', { targetId, flatten: true }, null)
    browser.#session = attached.sessionId
    await browser.#call('Page.enable')
    await browser.#call('Runtime.enable')
    await browser.#call('WebAuthn.enable')
    return browser
  }

  async end() {
    const gone = new Promise(resolve => { this.#process.once('exit', resolve) })
    this.#process.kill('SIGKILL')
    await gone
    await rm(this.#directory, { recursive: true, force: true, maxRetries: 10 })
  }

  #call(method, params = {}, sessionId = this.#session) {
    const id = this.#next
    this.#next += 1
    const answer = new Promise((resolve, reject) => { this.#asked.set(id, { resolve, reject, method }) })
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: sessionId ?? undefined })}\0`)
    return answer
  }

  #hear({ id, method, params, result, error }) {
    const asked = this.#asked.get(id)
    this.#asked.delete(id)
    if (error) asked.reject(new Error(`${asked.method}: ${error.message}`))
    else if (asked) asked.resolve(result)
    else this.#heard.filter(it => it.method === method).forEach(it => it.heard(params))
  }

  /** Answers when this is told next. */
  #told(method) {
    return new Promise(resolve => {
      const entry = { method, heard: params => {
        this.#heard = this.#heard.filter(it => it !== entry)
        resolve(params)
      } }
      this.#heard.push(entry)
    })
  }

  /** What a script of the page answers. */
  async run(expression) {
    const answer = await this.#call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })
    const failed = answer.exceptionDetails
    if (failed) throw new Error(failed.exception?.description ?? failed.text)
    return answer.result.value
  }

  /** Does what leads to another page, and answers when that page is there and shows what it has to. */
  async leads(action, selector) {
    for (let loaded = this.#told('Page.loadEventFired'), acted = action(); ; loaded = this.#told('Page.loadEventFired')) {
      await acted
      await loaded
      const shown = await this.run(`!!document.querySelector(${JSON.stringify(selector)})`).catch(() => false)
      if (shown) return
    }
  }

  visit(path, selector) {
    return this.leads(() => this.#call('Page.navigate', { url: demo.issuer + path }), selector)
  }

  /** Answers when something is so on this page. */
  async until(expression) {
    await this.run(`new Promise(resolve => {
      const look = () => ((${expression}) ? resolve() : setTimeout(look, 20))
      look()
    })`)
  }

  async type(selector, text) {
    await this.run(`document.querySelector(${JSON.stringify(selector)}).focus()`)
    await this.#call('Input.insertText', { text })
  }

  /** Clicks with the mouse, as passkeys ask for. */
  async click(selector) {
    const { x, y } = await this.run(`(() => {
      const it = document.querySelector(${JSON.stringify(selector)})
      it.scrollIntoView({ block: 'center' })
      const { left, top, width, height } = it.getBoundingClientRect()
      return { x: left + width / 2, y: top + height / 2 }
    })()`)
    const button = { x, y, button: 'left', clickCount: 1 }
    await this.#call('Input.dispatchMouseEvent', { type: 'mousePressed', ...button })
    await this.#call('Input.dispatchMouseEvent', { type: 'mouseReleased', ...button })
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
    const { userAgent } = await this.#call('Browser.getVersion', {}, null)
    await this.#call('Emulation.setUserAgentOverride', { userAgent, acceptLanguage })
  }

  async press(key, windowsVirtualKeyCode) {
    const stroke = { key, code: key, windowsVirtualKeyCode }
    await this.#call('Input.dispatchKeyEvent', { type: 'keyDown', ...stroke })
    await this.#call('Input.dispatchKeyEvent', { type: 'keyUp', ...stroke })
  }

  /** Collects what the browser refuses for the policy of a page. */
  async violations() {
    const seen = []
    const heard = ({ entry }) => { if (/Content Security Policy/.test(entry.text)) seen.push(entry.text) }
    this.#heard.push({ method: 'Log.entryAdded', heard })
    await this.#call('Log.enable')
    return seen
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
