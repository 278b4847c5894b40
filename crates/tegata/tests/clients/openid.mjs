// What the scripts that drive openid-client share.

import { CALLBACK, declare, demo, library, unique } from './demo.mjs'

export const openid = await library('openid-client')
export const insecure = { execute: [openid.allowInsecureRequests] }

/** A declared client with a secret that has all that people can give it, as the library knows it. */
export async function declared(settings = {}, auth = openid.ClientSecretBasic) {
  const secret = settings.public || settings.jwks ? undefined : unique('secret')
  const { client_id: id } = await declare({
    ...(secret && { client_secret: secret }),
    grant_types: ['authorization_code', 'refresh_token'],
    scope: 'openid profile email roles offline_access',
    ...settings,
  })
  return openid.discovery(new URL(demo.issuer), id, {}, auth(secret), insecure)
}

/** What a request says beside the client, and what is checked when it is answered. */
export async function request(more = {}) {
  const pkceCodeVerifier = openid.randomPKCECodeVerifier()
  const [expectedState, expectedNonce] = [openid.randomState(), openid.randomNonce()]
  const parameters = {
    redirect_uri: CALLBACK,
    scope: 'openid profile email offline_access',
    code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
    ...more,
  }
  return { parameters, checks: { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true } }
}

/** The tokens of a code that a browser's person gives. */
export async function signIn(config, browser, options, more) {
  const { parameters, checks } = await request(more)
  const address = await browser.authorize(openid.buildAuthorizationUrl(config, parameters))
  return openid.authorizationCodeGrant(config, address, checks, undefined, options)
}
