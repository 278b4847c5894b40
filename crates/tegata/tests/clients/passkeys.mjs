// Passkeys in a real browser: set up, used alone by the button and by the field for the user name, used
// after a password, and removed.

import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { Chromium, assert, demo } from './chromium.mjs'
import { unique } from './demo.mjs'

const name = unique('passkeys').slice(0, 40)
const password = 'a long and private phrase'

const directory = await mkdtemp(join(tmpdir(), 'tegata-passkeys-'))
const file = join(directory, 'password')
await writeFile(file, password, { mode: 0o600 })
const tegata = async (...command) => {
  const { stdout } = await promisify(execFile)(demo.program, [...command, '--data-dir', demo.data, '--format', 'json'])
  return JSON.parse(stdout)
}
await tegata('user', 'add', name, '--password-file', file)
await rm(directory, { recursive: true })

const browser = await Chromium.start()
try {
  await all()
} finally {
  await browser.end()
}

async function all() {
  const authenticator = await browser.authenticator()
  await browser.offers(false)
  const button = 'button[data-passkey]'
  const account = 'form[action="/oauth2/logout"]'
  const byPassword = async next => {
    await browser.type('#username', name)
    await browser.type('#password', password)
    await browser.leads(() => browser.click('form button.main'), next)
  }
  const signOut = async () => {
    await browser.visit('/login', account)
    await browser.leads(() => browser.click('button[value=logout]'), 'h1')
  }

  // Without scripts, a page works for passwords, and offers nothing that it cannot do.
  await browser.scripts(false)
  await browser.visit('/login', '#username')
  await browser.type('#username', name)
  await browser.type('#password', password)
  await browser.leads(() => browser.click('form button.main'), account)
  await browser.scripts(true)

  // Set up, after the password was shown once more.
  await browser.visit('/login/security', '#password')
  await browser.type('#password', password)
  await browser.leads(() => browser.click('button[value=prove]'), 'button[value=passkey]')
  await browser.picture('choose')
  await browser.leads(() => browser.click('button[value=passkey]'), '#name')
  assert.equal(await browser.run("document.querySelector('#name').value"), 'Chrome on Linux')
  await browser.picture('create')
  await browser.leads(() => browser.click(button), '.codes')
  await browser.picture('codes')
  const [made] = await authenticator.credentials()
  assert(made.isResidentCredential && made.rpId === 'localhost')
  assert.equal((await tegata('user', 'show', name)).passkeys, 1)
  await signOut()

  // Alone, by the button.
  await browser.visit('/login', `${button}:not([hidden])`)
  await browser.picture('sign-in')
  await browser.leads(() => browser.click(button), account)
  let session = await browser.session()
  assert.deepEqual([session.user.username, session.acr], [name, 'aal2'])
  assert.deepEqual(session.amr, ['pop', 'user', 'mfa'])
  await signOut()

  // Alone, in the field for the user name: the page is opened, and a passkey is chosen there.
  await browser.offers(true)
  await browser.visit('/login', account)
  await browser.offers(false)
  session = await browser.session()
  assert.deepEqual([session.user.username, session.amr], [name, ['pop', 'user', 'mfa']])
  await signOut()

  // After a password.
  await browser.visit('/login', '#username')
  await byPassword('#code')
  await browser.picture('second')
  await browser.leads(() => browser.click(button), account)
  session = await browser.session()
  assert.deepEqual([session.acr, session.amr], ['aal2', ['pwd', 'pop', 'user', 'mfa']])

  // The same device has it already.
  await browser.visit('/login/security', `${button}:not([hidden])`)
  await browser.picture('prove')
  await browser.leads(() => browser.click(button), 'button[value^="remove:"]')
  await browser.picture('passkeys')
  await browser.leads(() => browser.click('button[value=passkey]'), '#name')
  await browser.click(button)
  await browser.until("!document.querySelector('#passkey_problem').hidden")
  assert.match(await browser.text(), /This device has one of your passkeys already/)

  // Removed, it signs nobody in, nor does what was shown by it count: the password is asked for, and is
  // enough again.
  await browser.visit('/login/security', 'button[value^="remove:"]')
  await browser.leads(() => browser.click('button[value^="remove:"]'), '#password')
  session = await browser.session()
  assert.deepEqual([session.acr, session.amr], ['aal1', ['pwd']])
  assert.equal((await tegata('user', 'show', name)).passkeys, 0)
  assert.equal((await authenticator.credentials()).length, 1)
  await signOut()
  await browser.visit('/login', `${button}:not([hidden])`)
  await browser.leads(() => browser.click(button), '#problem')
  assert.match(await browser.text(), /This passkey does not count here/)
  await browser.picture('refused')
  await authenticator.remove(made.credentialId)
  await browser.visit('/login', '#username')
  await byPassword(account)
  assert.deepEqual((await browser.session()).amr, ['pwd'])
}
