// Chromium, and the protocol of its developer tools, through a pipe.

import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { demo } from './demo.mjs'

/** A browser that has never been anywhere. */
export class DevTools {
  #process
  #directory
  #asked = new Map()
  #heard = new Set()
  #next = 1

  static async start(...more) {
    const tools = new DevTools()
    tools.#directory = await mkdtemp(join(tmpdir(), 'tegata-chromium-'))
    const flags = [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
      '--remote-debugging-pipe', '--disable-background-networking', '--lang=en-US', '--window-size=900,900',
      `--user-data-dir=${tools.#directory}`, ...more, 'about:blank',
    ]
    const stdio = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']
    tools.#process = spawn(demo.chromium, flags, { stdio })
    let said = ''
    tools.#process.stdio[4].setEncoding('utf8').on('data', part => {
      const messages = (said + part).split('\0')
      said = messages.pop()
      messages.forEach(message => tools.#hear(JSON.parse(message)))
    })
    return tools
  }

  async end() {
    const gone = new Promise(resolve => { this.#process.once('exit', resolve) })
    this.#process.kill('SIGKILL')
    await gone
    await rm(this.#directory, { recursive: true, force: true, maxRetries: 10 })
  }

  /** The page that is there from the beginning: the session of its protocol. */
  async firstPage() {
    const { targetInfos } = await this.call('Target.getTargets')
    const { targetId } = targetInfos.find(target => target.type === 'page')
    return this.attach(targetId)
  }

  async attach(targetId) {
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true })
    await this.call('Page.enable', {}, sessionId)
    await this.call('Runtime.enable', {}, sessionId)
    return sessionId
  }

  call(method, params = {}, sessionId = undefined) {
    const id = this.#next
    this.#next += 1
    const answer = new Promise((resolve, reject) => { this.#asked.set(id, { resolve, reject, method, params }) })
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    return answer
  }

  #hear({ id, method, params, sessionId, result, error }) {
    const asked = this.#asked.get(id)
    this.#asked.delete(id)
    if (error) asked.reject(new Error(`${asked.method}: ${error.message}`))
    else if (asked) asked.resolve(result)
    else [...this.#heard].filter(it => it.method === method && it.sessionId === sessionId).forEach(it => it.heard(params))
  }

  /** What it has been asked and has not answered, for whoever waits for that in vain. */
  unanswered() {
    return [...this.#asked.values()].map(({ method, params }) => `${method}: ${params.expression ?? ''}`)
  }

  /** Calls this whenever a page tells of something. */
  on(method, sessionId, heard) {
    const entry = { method, sessionId, heard }
    this.#heard.add(entry)
    return () => this.#heard.delete(entry)
  }

  /** What a script of a page answers. */
  async run(expression, sessionId) {
    const params = { expression, awaitPromise: true, returnByValue: true }
    const answer = await this.call('Runtime.evaluate', params, sessionId).catch(({ message }) => {
      throw new Error(`${message}, at: ${expression}`)
    })
    const failed = answer.exceptionDetails
    if (failed) throw new Error(failed.exception?.description ?? failed.text)
    return answer.result.value
  }
}
