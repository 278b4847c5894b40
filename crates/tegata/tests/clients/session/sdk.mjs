// How large the SDK is: its modules without comments and indentation, one after the other, by gzip. A tool
// that also shortens names makes it smaller. And whether its types are right, as TypeScript finds them.

import { execFile } from 'node:child_process'
import { readFile, readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'

import { assert, demo } from '../demo.mjs'

const place = fileURLToPath(new URL('../../../../../web/sdk/', import.meta.url))
const names = (await readdir(place)).filter(name => name.endsWith('.js'))
const texts = await Promise.all(names.map(name => readFile(place + name, 'utf8')))
const bare = texts.map(text => text.replace(/\/\*\*[\s\S]*?\*\//g, '').split('\n').map(line => line.trim())
  .filter(line => line && !line.startsWith('//')).join('\n')).join('\n')
const size = gzipSync(bare, { level: 9 }).length
assert(size < 6 * 1024, `it is ${size} bytes`)
for (const [index, text] of texts.entries()) {
  for (const [, name] of text.matchAll(/^(?:import|\}).* from '([^']*)'/gm)) assert.match(name, /^\.\/[a-z]+\.js$/, names[index])
}

await promisify(execFile)(process.execPath, [`${demo.typescript}/typescript/bin/tsc`, '--project', place]).catch(({ stdout }) => {
  assert.fail(stdout)
})
