// What the scripts that drive oauth4webapi share.

import { ACCESS_TOKEN, Browser, CALLBACK, EXCHANGE, assert, demo, library } from './demo.mjs'

export const oauth = await library('oauth4webapi')
export const insecure = { [oauth.allowInsecureRequests]: true }

const issuer = new URL(demo.issuer)
export const as =
  await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure))
const oauth2 = await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' })
assert.deepEqual(await oauth.processDiscoveryResponse(issuer, oauth2), as)

/** Asks once more where the answer is that the proof needs a nonce, as every client must. */
export async function withNonce(ask) {
  try {
    return await ask()
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error
    return ask()
  }
}

/** A client, with what it proves itself and its key with. */
export class Client {
  constructor(metadata, auth, DPoP) {
    Object.assign(this, { metadata, auth, options: { ...insecure, DPoP } })
  }

  /** The tokens of a code that a person gives in a browser; pushed where `pushes`. */
  async code(pushes, scope) {
    const verifier = oauth.generateRandomCodeVerifier()
    const [nonce, state] = [oauth.generateRandomNonce(), oauth.generateRandomState()]
    const asked = new URLSearchParams({
      client_id: this.metadata.client_id,
      response_type: 'code',
      redirect_uri: CALLBACK,
      scope,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      nonce,
      state,
    })
    const address = new URL(as.authorization_endpoint)
    address.search = pushes ? await this.pushed(asked) : asked
    const left = await new Browser().authorize(address)
    const answer = oauth.validateAuthResponse(as, this.metadata, left, state)
    return withNonce(async () => {
      const response = await oauth.authorizationCodeGrantRequest(
        as, this.metadata, this.auth, answer, CALLBACK, verifier, this.options,
      )
      const checks = { expectedNonce: nonce, requireIdToken: true }
      const tokens = await oauth.processAuthorizationCodeResponse(as, this.metadata, response, checks)
      await oauth.validateApplicationLevelSignature(as, response, insecure)
      return tokens
    })
  }

  async pushed(asked) {
    const { request_uri: uri } = await withNonce(async () => {
      const response = await oauth.pushedAuthorizationRequest(
        as, this.metadata, this.auth, asked, this.options,
      )
      return oauth.processPushedAuthorizationResponse(as, this.metadata, response)
    })
    return new URLSearchParams({ client_id: this.metadata.client_id, request_uri: uri })
  }

  refresh(token) {
    return withNonce(async () => oauth.processRefreshTokenResponse(as, this.metadata,
      await oauth.refreshTokenGrantRequest(as, this.metadata, this.auth, token, this.options)))
  }

  credentials(parameters) {
    return withNonce(async () => oauth.processClientCredentialsResponse(as, this.metadata,
      await oauth.clientCredentialsGrantRequest(as, this.metadata, this.auth, parameters, this.options)))
  }

  /** A token for a service, made from one; by whom it is, another token may say. */
  exchange(token, audience, actor) {
    const asked = { subject_token: token, subject_token_type: ACCESS_TOKEN, audience }
    if (actor) Object.assign(asked, { actor_token: actor, actor_token_type: ACCESS_TOKEN })
    return withNonce(async () => oauth.processGenericTokenEndpointResponse(as, this.metadata,
      await oauth.genericTokenEndpointRequest(
        as, this.metadata, this.auth, EXCHANGE, asked, this.options,
      )))
  }

  userinfo(token, sub) {
    return withNonce(async () => oauth.processUserInfoResponse(as, this.metadata, sub,
      await oauth.userInfoRequest(as, this.metadata, token, this.options)))
  }

  async introspect(token) {
    const response = await oauth.introspectionRequest(as, this.metadata, this.auth, token, insecure)
    return oauth.processIntrospectionResponse(as, this.metadata, response)
  }

  async revoke(token) {
    const response = await oauth.revocationRequest(as, this.metadata, this.auth, token, insecure)
    return oauth.processRevocationResponse(response)
  }

  /** Calls something as the library does, with the token. */
  call(token, url) {
    return withNonce(() =>
      oauth.protectedResourceRequest(token, 'GET', url, undefined, undefined, this.options))
  }

  /** The claims of an access token, as the library reads it who has it shown at a resource. */
  async shown(token, audience) {
    let request
    const fetch = async (url, init) => {
      request = new Request(url, init)
      return new Response()
    }
    const url = new URL('/of/theirs', demo.gateway)
    const options = { ...this.options, [oauth.customFetch]: fetch }
    await oauth.protectedResourceRequest(token, 'GET', url, undefined, undefined, options)
    const requireDPoP = Boolean(this.options.DPoP)
    return oauth.validateJwtAccessToken(as, request, audience, { ...insecure, requireDPoP })
  }
}
