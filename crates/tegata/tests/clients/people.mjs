// People of a demo whom no other script knows, and what operators do.

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { demo, unique } from './demo.mjs'

export const password = 'a long and private phrase'
export const run = (...words) => promisify(execFile)(demo.program, [...words, '--data-dir', demo.data])

/** Somebody with this role, whom no other script knows. */
export async function person(role) {
  const name = unique('console').slice(0, 40)
  const directory = await mkdtemp(join(tmpdir(), 'tegata-console-'))
  const file = join(directory, 'password')
  await writeFile(file, password, { mode: 0o600 })
  await run('user', 'add', name, '--password-file', file, '--role', role)
  await rm(directory, { recursive: true })
  const { stdout } = await run('user', 'show', name, '--format', 'json')
  return { name, id: JSON.parse(stdout).id }
}
