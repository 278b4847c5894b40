// A session that has ended is told of, in the language of the page or of the browser, and leads to where
// people sign in.

import { assert, town } from './town.mjs'

const ENDED = `(async () => {
  const { csrf_token } = await fetch('/api/auth/csrf').then(answer => answer.json())
  await fetch('/api/auth/logout', { method: 'POST', headers: { 'X-CSRF-Token': csrf_token } })
  await session.fetch('/echo/x')
})()`

await town(async town => {
  for (const [lang, tag, words] of [
    ['', 'en', 'Your session has ended. Please sign in again.'],
    ['en-GB', 'en', 'Your session has ended. Please sign in again.'],
    ['ja', 'ja', 'セッションが終了しました。もう一度サインインしてください。'],
    ['ja-JP', 'ja', 'セッションが終了しました。もう一度サインインしてください。'],
    ['fr', 'en', 'Your session has ended. Please sign in again.'],
  ]) {
    await town.person()
    const tab = await town.tab(`/test/page?lang=${lang}`, true)
    await tab.run('session.user()')
    await tab.run(ENDED)
    const shown = await tab.run(`(() => {
      const it = document.querySelector('.tegata-notice')
      const { position, backgroundColor } = getComputedStyle(it)
      return [it.textContent, it.lang, it.getAttribute('role'), it.children.length, it.hasAttribute('style'), position, backgroundColor]
    })()`)
    assert.deepEqual(shown, [words, tag, 'alert', 0, false, 'fixed', 'rgb(31, 28, 24)'])
    assert.deepEqual(await tab.run('[heard, violations]'), [['start', 'expired'], []])
    await tab.run('clock.pass(1_900)')
    assert.equal(await tab.run('location.pathname'), '/test/page')
    await tab.run('clock.pass(200)')
    await tab.at('/login')
    await tab.close()
  }

  // A page that stays shows nothing of the SDK's.
  await town.person()
  const tab = await town.tab('/test/page?stay', true)
  await tab.run('session.user()')
  await tab.run(ENDED)
  assert.deepEqual(await tab.run('[heard, document.querySelector(".tegata-notice")]'), [['start', 'expired'], null])
  await tab.run('clock.pass(10_000)')
  assert.equal(await tab.run('location.pathname'), '/test/page')

  // It is shown for five seconds, where the page is still there.
  await town.person()
  const slow = await town.tab('/test/page', true)
  await slow.run('session.user()')
  await slow.run(ENDED)
  await slow.run("clock.pass(5_100)")
  assert.equal(await slow.run('document.querySelector(".tegata-notice")').catch(() => null), null)
})
