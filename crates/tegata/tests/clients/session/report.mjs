// What a hostile script tried, what it took, and for how long that is of use to somebody who is not this browser:
// measured, said on standard output, and held against the table of docs/browser.md, which says it of both modes.

import { readFile } from 'node:fs/promises'

import { assert, decoded } from '../demo.mjs'

const TABLE = await readFile(new URL('../../../../../docs/browser.md', import.meta.url), 'utf8')

/** The columns of the table, after what was tried. */
const MODES = ['tokens', 'no tokens']

/** What a secret can be shown as. */
const shownAs = secret => [
  { authorization: `Bearer ${secret}` }, { cookie: `session_id=${secret}` },
  { cookie: `refresh_token=${secret}; session_id=${secret}` }, { 'idempotency-key': secret },
]

export class Report {
  #tried = []

  /**
   * @param {object} town
   * @param {'tokens' | 'no tokens'} mode Whether pages are given tokens.
   * @param {string} service What a service behind the gateway answers, where somebody is known.
   */
  constructor(town, mode, service) {
    Object.assign(this, { town, mode, service })
  }

  /** What it tried in a word of the table, and all texts that it then had. Of those, what works elsewhere is found out. */
  async tried(what, texts, secrets) {
    const had = secrets.filter(secret => texts.some(text => text.includes(secret)))
    this.#tried.push({ what, had, open: await this.#of(had) })
  }

  /** What it could do while it ran, and not after: that ended with the tab. */
  acted(what, could) {
    this.#tried.push({ what, said: could ? '**yes**, while the tab is open' : 'no' })
  }

  /** What it left behind that goes on without it. */
  left(what, things) {
    this.#tried.push({ what, said: things.length > 0 ? `**${things.join(', ')}**` : 'no' })
  }

  /** Looks what still works now that the tab is closed. */
  async closed() {
    for (const it of this.#tried) it.closed = await this.#of(it.had ?? [])
  }

  /** And now that the person has signed out. Says it all. */
  async ended() {
    for (const it of this.#tried) it.ended = await this.#of(it.had ?? [])
    const lines = this.#tried.map(it => [it.what, it.said ?? said(it)])
    const wide = Math.max(...lines.map(([what]) => what.length))
    console.log(`What a hostile script takes from a page (${this.mode}):`)
    for (const [what, outcome] of lines) console.log(`  ${what.padEnd(wide)}  ${outcome.replaceAll('**', '')}`)
    for (const [what, outcome] of lines) assert.equal(this.#documented(what), outcome, what)
    const rows = TABLE.split('\n').filter(line => line.startsWith('| ') && lines.some(([what]) => line.startsWith(`| ${what} |`)))
    assert.equal(rows.length, lines.length)
  }

  /** Which of these somebody elsewhere is taken for the person by. */
  async #of(secrets) {
    const work = []
    for (const secret of secrets) {
      for (const headers of shownAs(secret)) {
        for (const [path, method] of [[this.service, 'GET'], ['/api/auth/session', 'GET'], ['/api/auth/refresh', 'POST']]) {
          if (await this.town.elsewhere(path, headers, method) === 200) work.push(`${method} ${path}`)
        }
      }
    }
    return [...new Set(work)]
  }

  #documented(what) {
    const row = TABLE.split('\n').find(line => line.startsWith(`| ${what} |`))
    assert(row, `docs/browser.md does not say: ${what}`)
    return row.split('|').slice(2, -1)[MODES.indexOf(this.mode)].trim()
  }
}

/** In words: what it took, and until when that works. */
function said({ had, open, closed, ended }) {
  if (had.length === 0) return 'nothing'
  const lives = had.map(token => decoded(token)).map(({ iat, exp }) => (exp - iat) / 60)
  const of = open.every(it => it.startsWith('GET /') && !it.startsWith('GET /api/')) ? 'an access token' : open.join(', ')
  const until = [
    [ended, 'and after the session has ended'],
    [closed, `until it ends (${Math.max(...lives)} min at most) or the session does`],
    [open, 'while the tab is open'],
    [[''], 'of no use'],
  ].find(([work]) => work.length > 0)[1]
  return `**${of}**, ${until}`
}
