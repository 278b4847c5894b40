// How large the SDK is, minified and by gzip, one module after the other. And whether its types are right, as
// TypeScript finds them.

import { execFile } from 'node:child_process'
import { readFile, readdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'

import { assert, demo } from '../demo.mjs'

const place = fileURLToPath(new URL('../../../../../web/sdk/', import.meta.url))
const names = (await readdir(place)).filter(name => name.endsWith('.js'))
const texts = await Promise.all(names.map(name => readFile(place + name, 'utf8')))
const { minify } = createRequire(`${demo.typescript}/`)('terser')
const small = await Promise.all(texts.map(text => minify(text, { module: true })))
const size = gzipSync(small.map(({ code }) => code).join('\n'), { level: 9 }).length
assert(size < 6000, `it is ${size} bytes`)
for (const [index, text] of texts.entries()) {
  for (const [, name] of text.matchAll(/^(?:import|\}).* from '([^']*)'/gm)) assert.match(name, /^\.\/[a-z]+\.js$/, names[index])
}

await promisify(execFile)(process.execPath, [`${demo.typescript}/typescript/bin/tsc`, '--project', place]).catch(({ stdout }) => {
  assert.fail(stdout)
})
