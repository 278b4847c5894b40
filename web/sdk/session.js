// The browser's half of a session: keeps an access token in memory, renews it, and sends it along.
//
//     import { createSession } from '/assets/tegata/session.js';
//     const session = createSession();
//     const orders = await session.fetch('/orders/orders').then((answer) => answer.json());
//
// What it holds lives in the closure of `createSession`: no property of any object leads there.

import { call } from './calls.js';
import { hints } from './hints.js';
import {
  NativeError, NativeRequest, NativeStream, NativeURL, at, atob, closed, freeze, headerOf, includes, indexOf, later,
  nativeFetch, now, on, parse, random, requestHeaders, requestMethod, requestRedirect, requestUrl, responseHeaders,
  responseStatus, responseType, setHeader, shelf, slice, stringify, urlHost, urlOrigin, urlPath, urlProtocol,
} from './native.js';
import { notice } from './notice.js';
import { join } from './tabs.js';

/** A token is replaced so long before it dies, or a third of its life where that is shorter. */
const AHEAD = 300_000;
/** How often it is looked whether one is to be replaced. */
const LOOK = 60_000;
/** How long nothing is asked of a server that did not answer. */
const PAUSE = 15_000;
/** However long a server wants to be left alone. */
const REST = 600_000;
/** A token younger than this was refused for itself only where the answer says so. */
const YOUNG = 30_000;
/** How long the person reads that the session has ended before the page leaves. */
const LEAVE = 2_000;

/** Where it stands under which name the refresh is that is under way: of use to nobody without the cookies. */
const ATTEMPT = 'tegata.attempt';
/** Where it stands which session was signed out of while the server could not be reached. `*`: whichever it is. */
const OUT = 'tegata.out';
/** Where it stands until when the server is left alone, by all tabs. */
const RESTS = 'tegata.rests';

/**
 * @typedef {object} Options
 * @property {string} [login] Where people sign in: a path of this origin. `/login`.
 * @property {string[]} [audiences] Other origins that are sent the access token: those of your own services.
 *
 * @typedef {object} User
 * @property {string} id
 * @property {string} username
 * @property {string | null} email
 * @property {string | null} locale
 * @property {string[]} roles
 *
 * @typedef {{username: string, password: string}
 *   | {credential: object}
 *   | {mfa_token: string, method: string, code?: string, credential?: object}} Credentials
 *
 * @typedef {object} Outcome
 * @property {boolean} ok Whether somebody is signed in now.
 * @property {string} [error] Why not: `invalid_credentials`, `mfa_required`, `too_many_attempts`, …
 * @property {string} [mfa_token] What the second step must come with.
 * @property {string[]} [methods] What it can be.
 * @property {number} [wait] How many seconds to wait before trying again.
 *
 * @typedef {'logout' | 'expired' | 'changed'} Reason Signed out here or in another tab; ended by whatever else;
 *   or somebody else has signed in in another tab.
 *
 * @typedef {object} Session
 * @property {Promise<void>} ready Kept when it is known whether somebody is signed in, or the server does not say.
 * @property {(input: RequestInfo | URL, init?: RequestInit) => Promise<Response>} fetch As the browser's `fetch`.
 * @property {() => Promise<User | null>} user Who is signed in. Rejects where that cannot be learnt.
 * @property {(credentials?: Credentials) => Promise<Outcome>} login Signs in, or leads to where that is done.
 * @property {(options?: {everywhere?: boolean}) => Promise<boolean>} logout Signs out; says whether the server knows.
 * @property {(listener: () => void) => () => void} onStart Hears that somebody is signed in.
 * @property {(listener: (reason: Reason) => unknown) => () => void} onEnd Hears that nobody is any more. A listener
 *   that returns `false` keeps the page where it is.
 */

/** @param {string} method */
const isSafe = (method) => method === 'GET' || method === 'HEAD' || method === 'OPTIONS';

/** The claims of a token, as far as they are needed here. @param {string} token */
const claimsOf = (token) => {
  try {
    if (token > '{') return parse(token);
    const from = indexOf(token, '.') + 1;
    const part = slice(token, from, indexOf(token, '.', from));
    let text = '';
    for (let index = 0; index < part.length; index += 1) {
      const letter = at(part, index);
      text += letter === '-' ? '+' : letter === '_' ? '/' : letter;
    }
    return parse(atob(text));
  } catch {
    return {};
  }
};

/** A name for a refresh, which only who began it knows. */
const attemptName = () => {
  const bytes = random(new Uint8Array(24));
  let name = '';
  for (let index = 0; index < 24; index += 1) name += (bytes[index] + 256).toString(16).slice(1);
  return name;
};

/**
 * Whether a request can be made again. A stream is read once; so is the body of a `Request`.
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 */
const repeats = (input, init) =>
  !(init?.body instanceof NativeStream) && (!(input instanceof NativeRequest) || isSafe(requestMethod(input)));

/** An origin that may be sent tokens. @param {string} text */
const audience = (text) => {
  const url = new NativeURL(text);
  const near = urlHost(url) === 'localhost' || urlHost(url) === '127.0.0.1' || urlHost(url) === '[::1]';
  if (urlOrigin(url) !== text || (urlProtocol(url) !== 'https:' && !near)) {
    throw new NativeError(`\`${text}\` is no https origin, like https://api.example.com`);
  }
  return text;
};

/**
 * Opens the session of this browser.
 * @param {Options} [options]
 * @returns {Session}
 */
export const createSession = (options = {}) => {
  const door = new NativeURL(options.login ?? '/login', location.origin);
  const login = '' + door;
  if (urlOrigin(door) !== location.origin) throw new NativeError(`${login} is not of this origin`);
  /** @type {Record<string, true>} */
  const audiences = /** @type {any} */ ({ __proto__: null });
  for (const text of options.audiences ?? []) audiences[audience(text)] = true;

  /** @type {string | null} */
  let token = null;
  let csrf = document.querySelector('meta[name="csrf-token"]')?.getAttribute('content') ?? '';
  let expires = 0;
  let due = 0;
  /** When this tab took the token. */
  let took = 0;
  /** Whose token it is or was, and of which session. */
  let sub = '';
  let sid = '';
  /** The session that this tab saw the end of: what arrives late of it is no sign-in. */
  let gone = '';
  /** @type {User | null} */
  let person = null;
  let isIn = false;
  /** Whether the server has said so, or that nobody is. */
  let known = false;
  /** Counts sign-ins and sign-outs: what was asked in an earlier one is of no use in a later. */
  let era = 0;
  /** @type {Promise<void> | undefined} */
  let flight;
  let alarm = 0;
  /** @type {Set<() => void>} */
  const starts = new Set;
  /** @type {Set<(reason: Reason) => unknown>} */
  const ends = new Set;
  /** @type {Record<string, true>} */
  const warned = /** @type {any} */ ({ __proto__: null });

  const others = join({
    held: (held) => {
      const late = claimsOf(held.token).sid === gone || (isIn && held.expires <= expires);
      if (!late && held.expires > now()) take(held);
    },
    ended: (reason) => end(reason === 'expired' ? reason : 'logout', true),
    holds: () => (token && now() < due ? { token, csrf, expires, due } : undefined),
  });

  /** Whether the server is left alone. What no server can have said counts for nothing. */
  const resting = () => {
    const left = +(shelf.read(RESTS) ?? 0) - now();
    return left > 0 && left <= REST;
  };

  /** The server is left alone for so many seconds. @param {number} [wait] */
  const rest = (wait = 0) => shelf.write(RESTS, '' + (now() + Math.min(wait * 1000 || PAUSE, REST)));

  /** Takes what a refresh or a sign-in gave. @param {import('./tabs.js').Held} held */
  const take = (held) => {
    const claims = claimsOf(held.token);
    const other = isIn && claims.sub !== sub;
    ({ token, csrf, expires, due } = held);
    took = now();
    known = true;
    shelf.drop(RESTS);
    if (claims.sid !== sid) person = null;
    ({ sub, sid } = claims);
    watch();
    // What the page shows is of somebody else.
    if (other) end('changed', true);
    if (isIn || other) return;
    isIn = true;
    for (const listener of starts) heard(listener);
  };

  /** The same, of an answer of the server. @param {any} body */
  const given = (body) => {
    // Where pages are given none, the answer itself stands in its place, and is sent nowhere.
    const token = body.access_token ?? stringify(body);
    if (claimsOf(token).sid === gone) return;
    const life = body.expires_in * 1000;
    const expires = now() + life;
    const held = { token, csrf: body.csrf_token, expires, due: expires - Math.min(life / 3, AHEAD) };
    take(held);
    others.tell(held);
  };

  /** Calls a listener. What it throws is the page's, and stops nothing here. @param {Function} listener @param {Reason} [reason] */
  const heard = (listener, reason) => {
    try {
      return listener(reason);
    } catch (error) {
      reportError(error);
    }
  };

  /** Ends it here, and in the other tabs unless they said so. @param {Reason} reason @param {boolean} [told] */
  const end = (reason, told) => {
    const was = isIn;
    era += 1;
    if (reason === 'logout') gone = sid;
    token = person = null;
    csrf = sub = sid = '';
    expires = due = 0;
    isIn = false;
    known = true;
    if (!told) others.end(reason);
    if (!was) return;
    let stays = reason === 'logout' && !told;
    for (const listener of ends) if (heard(listener, reason) === false) stays = true;
    if (stays) return;
    if (reason === 'changed') {
      location.reload();
    } else {
      notice();
      later(() => isIn || location.assign(login), LEAVE);
    }
  };

  /**
   * Asks for what changes something, with a CSRF token that counts.
   * @param {string} path
   * @param {string} [name] The name of a refresh. What has none is asked for also where there is no such token.
   * @returns {Promise<import('./calls.js').Answer>}
   */
  const change = async (path, name) => {
    const headers = /** @type {any} */ ({ __proto__: null });
    for (let again = false; ; again = true) {
      if (!csrf) {
        const answer = await call('GET', '/api/auth/csrf');
        if (answer.status === 200) csrf = answer.body.csrf_token;
        else if (name || answer.status !== 401) return answer;
      }
      if (name) shelf.write(ATTEMPT, (headers['Idempotency-Key'] = name));
      headers['X-CSRF-Token'] = csrf;
      const answer = await call('POST', path, headers);
      // The token is older than the session: somebody has signed in anew.
      if (again || answer.status !== 403 || answer.body.error !== 'csrf') return answer;
      csrf = '';
    }
  };

  /** Replaces the access token, unless it is another than `worn` already. @param {string | null} worn */
  const refresh = (worn) => {
    // Whoever signs out while this waits for its turn wants no more of it.
    const mine = era;
    const fly = async () => {
      try {
        await others.alone((waited) => renew(worn, mine, waited));
      } catch (error) {
        rest();
        console.warn(error);
      } finally {
        flight = undefined;
      }
    };
    if (!resting()) flight ??= fly();
    return flight;
  };

  /** @param {string | null} worn @param {number} mine @param {boolean} waited */
  const renew = async (worn, mine, waited) => {
    // While this tab waited for its turn, another may have done it, or have what this one needs.
    if (token === worn && mine === era) await others.ask(waited);
    // Whoever has signed out is signed in again by no tab.
    if (token !== worn || mine !== era || resting() || shelf.read(OUT)) return;
    const hoped = isIn || csrf;
    // Whoever asks again under the same name has lost the answer, however long ago.
    const name = shelf.read(ATTEMPT) ?? attemptName();
    const ask = () => closed(change('/api/auth/refresh', name));
    let answer = await ask();
    // It may have been overtaken by an answer that replaced its cookie meanwhile.
    if (answer.status === 401 && hoped && mine === era) answer = await ask();
    const { status, body } = answer;
    // Where it was not even made, for want of a CSRF token, its name is still of use; to who has signed out it is not.
    const over = status === 200 || body.error === 'invalid_grant' || (mine !== era && !isIn);
    if (over && shelf.read(ATTEMPT) === name) shelf.drop(ATTEMPT);
    // Another tab has told of a newer session meanwhile: what this answer says is of an older one.
    if (token !== worn || mine !== era) return;
    if (status === 200) {
      given(body);
    } else if (status === 401) {
      // Where nobody was signed in, nobody need be told.
      end('expired', !isIn);
    } else {
      rest(answer.wait);
    }
  };

  /** Looks again in a minute, or when the token is due. */
  const watch = () => {
    const mine = (alarm += 1);
    const left = due - now();
    later(() => mine === alarm && look(), left > 0 && left < LOOK ? left : LOOK);
  };

  const look = () => {
    if (isIn) {
      if (now() >= due) refresh(token);
    } else if (!known || shelf.read(OUT)) {
      begin();
    }
    watch();
  };

  /** Finds out whether somebody is signed in, and signs out whoever wanted to be. */
  const begin = async () => {
    const out = shelf.read(OUT);
    if (out && !(await settle(out))) known = true;
    else await refresh(token);
  };

  /** Something has passed of which this page knows nothing: sleep, another page, a network that was away. */
  const wake = () => {
    if (isIn) look();
    else begin();
  };

  /** Signs out of a session that could not be reached before. Answers whether somebody else is signed in. @param {string} out */
  const settle = async (out) => {
    const { status, body } = await call('GET', '/api/auth/session');
    if (status !== 200 && status !== 401) return false;
    // The cookie may be one that was replaced, of which nothing is told. It goes, too.
    const other = status === 200 && indexOf(out, '*') && indexOf(out, body.sid);
    if (!other && !(await leave(includes(out, ' ')))) return false;
    shelf.drop(OUT);
    return other;
  };

  /** Tells the server that the session ends. @param {boolean} everywhere */
  const leave = async (everywhere) => {
    const path = '/api/auth/logout' + (everywhere ? '?everywhere=true' : '');
    const { status } = await closed(change(path));
    csrf = '';
    const told = status === 204 || status === 401;
    // A refresh whose answer was lost is not made again.
    if (told) shelf.drop(ATTEMPT);
    return told;
  };

  /**
   * Sends a request with what the session has, to where `own` and `trusted` allow it.
   * @param {Request} asked
   * @param {boolean} own
   * @param {RequestInfo | URL} input
   * @param {RequestInit} [init]
   */
  const send = async (asked, own, input, init) => {
    const method = requestMethod(asked);
    const follows = requestRedirect(asked) === 'follow';
    // What carries tokens follows no redirect: where it leads is not told before it is followed.
    const manual = /** @type {any} */ ({ __proto__: null, redirect: 'manual' });
    const request = follows ? new NativeRequest(asked, manual) : asked;
    const headers = requestHeaders(request);
    if (token && token < '{' && now() < expires && headerOf(headers, 'authorization') === null) {
      setHeader(headers, 'Authorization', 'Bearer ' + token);
    }
    if (own) setHeader(headers, 'X-Device-Hints', hints());
    if (own && csrf && !isSafe(method)) setHeader(headers, 'X-CSRF-Token', csrf);
    const answer = await nativeFetch(request);
    if (!follows || responseType(answer) !== 'opaqueredirect') return answer;
    if (!isSafe(method)) {
      throw new NativeError(`${method} ${requestUrl(asked)}: redirects are not followed with tokens`);
    }
    return nativeFetch(new NativeRequest(input, init));
  };

  /** @type {Session['fetch']} */
  const fetch = async (input, init) => {
    // INVARIANT: where a request goes is read from what is sent, and not from what was asked for: an object can
    // say another address each time that it is read.
    const asked = new NativeRequest(input, init);
    const address = requestUrl(asked);
    const url = new NativeURL(address);
    const own = urlOrigin(url) === location.origin;
    if (!own && !audiences[urlOrigin(url)]) return nativeFetch(asked);
    await ready;
    if (!known) await refresh(token);
    if (!isIn) return nativeFetch(asked);
    if (now() >= due) {
      const renewed = refresh(token);
      if (now() >= expires) await renewed;
    }
    const worn = token;
    const young = now() < expires && now() - took < YOUNG;
    const answer = await send(asked, own, input, init);
    const headers = responseHeaders(answer);
    const path = urlPath(url);
    if (own && headerOf(headers, 'x-content-type-options') !== 'nosniff' && !warned[path]) {
      warned[path] = true;
      console.warn(`${path} lacks X-Content-Type-Options: nosniff`);
    }
    if (own && headerOf(headers, 'x-token-refresh') === '1') refresh(worn);
    const asks = headerOf(headers, 'www-authenticate') ?? '';
    if (responseStatus(answer) !== 401 || !isIn || includes(asks, 'insufficient_user_authentication')) return answer;
    if (young && token === worn && !includes(asks, 'invalid_token')) return answer;
    await refresh(worn);
    if (!isIn || token === worn || !repeats(input, init)) return answer;
    const again = new NativeRequest(input, init);
    return requestUrl(again) === address ? send(again, own, input, init) : answer;
  };

  const ready = begin();
  watch();
  on(document, 'visibilitychange', () => document.visibilityState === 'visible' && wake());
  on(window, 'pageshow', (/** @type {PageTransitionEvent} */ event) => event.persisted && wake());
  on(window, 'online', () => {
    shelf.drop(RESTS);
    wake();
  });

  /** @param {Set<Function>} list @returns {(listener: Function) => () => void} */
  const hears = (list) => (listener) => {
    list.add(listener);
    return () => list.delete(listener);
  };

  return freeze({
    ready,
    fetch,

    user: async () => {
      await ready;
      if (!known) await refresh(token);
      for (let again = false; (isIn || !known) && !person; again = true) {
        const mine = era;
        const { status, body } = await call('GET', '/api/auth/session');
        if (mine !== era) return null;
        if (status === 200) person = freeze({ ...body.user, roles: body.roles });
        else if (status === 401 && !again) await refresh(token);
        else throw new NativeError(`nobody knows who is signed in: ${status || 'no answer'}`);
      }
      return person;
    },

    login: async (credentials) => {
      if (!credentials) {
        location.assign(login);
        return { ok: false };
      }
      const path = 'mfa_token' in credentials ? '/api/auth/mfa' : '/api/auth/login';
      const headers = /** @type {any} */ ({ __proto__: null, 'Content-Type': 'application/json' });
      const { status, body, wait } = await call('POST', path, headers, stringify(credentials));
      if (status !== 200) {
        const { error = 'no_answer', mfa_token, methods } = body;
        return { ok: false, error, mfa_token, methods, wait };
      }
      era += 1;
      isIn = false;
      shelf.drop(OUT);
      given(body);
      return { ok: true };
    },

    logout: async ({ everywhere = false } = {}) => {
      const known = csrf;
      shelf.write(OUT, (sid || '*') + (everywhere ? ' everywhere' : ''));
      end('logout');
      csrf = known;
      const told = await leave(everywhere);
      if (told) shelf.drop(OUT);
      return told;
    },

    onStart: hears(starts),
    onEnd: hears(ends),
  });
};
