// What every page is looked at for: nothing that axe finds wrong, nothing wider than the screen, nothing that
// the keyboard reaches unseen.

import { readFile } from 'node:fs/promises'

import { assert, demo } from './chromium.mjs'

const axe = await readFile(demo.axe, 'utf8')
// Each page is seen in two of the four shapes in one language, and in the others in the other.
const SHAPES = {
  en: [{ width: 1280, height: 900, dark: false }, { width: 320, height: 640, dark: true }],
  ja: [{ width: 1280, height: 900, dark: true }, { width: 320, height: 640, dark: false }],
}

/** Looks at pages in a language, and gathers what is wrong with them. */
export class Look {
  found = []

  constructor(browser, language) {
    this.browser = browser
    this.language = language
  }

  /** Looks at a page in every shape, or at what is within it. (Nothing is loaded for that: a page whose clock stands
   *  still would wait for it, and the policy of a page forbids it.) */
  async at(page, within) {
    const { browser, language, found } = this
    await browser.run(`${axe}; true`)
    assert.equal(await browser.run('document.documentElement.lang'), language, page)
    for (const shape of SHAPES[language]) {
      await browser.looks(shape)
      await browser.run('Promise.all(document.getAnimations().map(it => it.finished)).then(() => true)')
      const said = text => found.push(`${page} (${language}, ${shape.width}${shape.dark ? ', dark' : ''}): ${text}`)
      const wrong = await browser.run(`axe.run(${within ? JSON.stringify(within) : 'document'}, { preload: false }).then(({ violations }) => violations.map(
        ({ id, nodes }) => id + ': ' + nodes.map(node => node.target + ' ' + node.failureSummary).join('; ')))`)
      wrong.forEach(said)
      const [wide, shown] = await browser.run('[document.documentElement.scrollWidth, innerWidth]')
      if (wide > shown) said(`${wide} wide`)
      await browser.picture(`${page}-${language}-${shape.width}${shape.dark ? '-dark' : ''}`)
    }
    if (!within) await this.#keyboard(text => found.push(`${page} (${language}): ${text}`))
  }

  /** Goes through a page with the keyboard alone: it ends where it began, and what has the focus shows it. */
  async #keyboard(said) {
    const { browser } = this
    // Also what stands within elements that have a tree of their own.
    const deep = `const deep = of => [...of.querySelectorAll('*')].flatMap(it => [it, ...(it.shadowRoot ? deep(it.shadowRoot) : [])])`
    const all = await browser.run(`(() => {
      ${deep}
      return deep(document).filter(it => it.matches('a[href], button, input, select, textarea, summary'))
        .filter(it => !it.disabled && it.type !== 'hidden' && it.checkVisibility()).length
    })()`)
    const next = async () => {
      await browser.press('Tab')
      return browser.run(`(() => {
        ${deep}
        let it = document.activeElement
        while (it.shadowRoot?.activeElement) it = it.shadowRoot.activeElement
        const style = getComputedStyle(it)
        const shows = style.outlineStyle !== 'none' || style.boxShadow !== 'none'
        const place = deep(document).indexOf(it)
        return it === document.body ? null : { place, shows, text: it.outerHTML.slice(0, 80) }
      })()`)
    }
    // Some pages begin within: from the end on, it goes on at the top.
    const reached = new Map()
    for (let steps = 0; steps < 2 * all + 2; steps += 1) {
      const at = await next()
      if (at) reached.set(at.place, at)
    }
    for (const { shows, text } of reached.values()) if (!shows) said(`the focus is not seen on ${text}`)
    if (reached.size < all) said(`the keyboard reaches ${reached.size} of ${all}`)
  }
}
