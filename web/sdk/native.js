// What the SDK uses of the browser, taken when the module is loaded. What a script of the page does
// later to globals and prototypes changes nothing of it: a patched `fetch`, `Headers.prototype.set` or
// `Promise.prototype.then` is never called, and so is never handed what the SDK holds.
//
// To keep it so, the SDK uses no method of anything that holds a secret, but the functions below; no
// `for … of` and no spread, which ask prototypes; and literals with `__proto__: null` where the browser
// reads members that are not there.

const { apply, defineProperty, getOwnPropertyDescriptor } = Reflect;

/**
 * A method (`value`), or what an attribute gives (`get`) or takes (`set`), as a function of its object.
 * @param {'value' | 'get' | 'set'} kind
 * @returns {(prototype: any, name: string) => (self: any, ...rest: any[]) => any}
 */
const part = (kind) => (prototype, name) => {
  const own = /** @type {any} */ (getOwnPropertyDescriptor(prototype, name))[kind];
  return (self, ...rest) => apply(own, self, rest);
};
const method = part('value');
const getter = part('get');
const setter = part('set');

/** @param {Function} own @param {any} [self] @returns {(...rest: any[]) => any} */
const plain = (own, self = globalThis) => (...rest) => apply(own, self, rest);

export const NativePromise = Promise;
export const NativeRequest = Request;
export const NativeURL = URL;
export const NativeStream = ReadableStream;
export const NativeXHR = XMLHttpRequest;
export const NativeError = TypeError;
export const NativeAbort = AbortController;
export const NativeChannel = BroadcastChannel;

export const freeze = Object.freeze;
export const parse = plain(JSON.parse);
export const stringify = plain(JSON.stringify);
export const now = plain(Date.now);
export const later = plain(setTimeout);
export const atob = plain(globalThis.atob);
export const random = plain(crypto.getRandomValues, crypto);
export const nativeFetch = plain(fetch);

export const at = method(String.prototype, 'charAt');
export const codeAt = method(String.prototype, 'charCodeAt');
export const indexOf = method(String.prototype, 'indexOf');
export const includes = method(String.prototype, 'includes');
export const slice = method(String.prototype, 'slice');
export const on = method(EventTarget.prototype, 'addEventListener');
export const abort = method(AbortController.prototype, 'abort');
export const signalOf = getter(AbortController.prototype, 'signal');
export const eventData = getter(MessageEvent.prototype, 'data');
export const post = method(BroadcastChannel.prototype, 'postMessage');

export const requestHeaders = getter(Request.prototype, 'headers');
export const requestUrl = getter(Request.prototype, 'url');
export const requestMethod = getter(Request.prototype, 'method');
export const requestRedirect = getter(Request.prototype, 'redirect');
export const responseHeaders = getter(Response.prototype, 'headers');
export const responseStatus = getter(Response.prototype, 'status');
export const responseType = getter(Response.prototype, 'type');
export const urlOrigin = getter(URL.prototype, 'origin');
export const urlPath = getter(URL.prototype, 'pathname');
export const urlProtocol = getter(URL.prototype, 'protocol');
export const urlHost = getter(URL.prototype, 'hostname');
export const headerOf = method(Headers.prototype, 'get');
export const setHeader = method(Headers.prototype, 'set');

export const screenWidth = getter(Screen.prototype, 'width');
export const screenHeight = getter(Screen.prototype, 'height');
export const screenDepth = getter(Screen.prototype, 'colorDepth');

export const xhrOpen = method(XMLHttpRequest.prototype, 'open');
export const xhrSend = method(XMLHttpRequest.prototype, 'send');
export const xhrHeader = method(XMLHttpRequest.prototype, 'setRequestHeader');
export const xhrAnswerHeader = method(XMLHttpRequest.prototype, 'getResponseHeader');
export const xhrStatus = getter(XMLHttpRequest.prototype, 'status');
export const xhrText = getter(XMLHttpRequest.prototype, 'responseText');
export const xhrTimeout = setter(XMLHttpRequest.prototype, 'timeout');

// Both are of secure contexts only.
const locks = navigator.locks;
/** @type {undefined | ((name: string, options: any, work: (given: any) => unknown) => Promise<unknown>)} */
export const lock = locks?.request && plain(locks.request, locks);

// Asking for it throws where the browser keeps nothing for this page.
const storage = (() => {
  try {
    return localStorage;
  } catch {
    return undefined;
  }
})();
const [read, write, drop] = ['getItem', 'setItem', 'removeItem'].map((name) => method(Storage.prototype, name));

/**
 * What all tabs of the origin read and write. Nothing secret is ever put here.
 */
export const shelf = {
  /** @param {string} name @returns {string | null} */
  read: (name) => (storage ? read(storage, name) : null),
  /** @param {string} name @param {string} value */
  write: (name, value) => {
    try {
      if (storage) write(storage, name, value);
    } catch {
      // It is full, or closed: what stands here is a convenience.
    }
  },
  /** @param {string} name */
  drop: (name) => {
    if (storage) drop(storage, name);
  },
};

/**
 * A promise that `await` does not ask for its constructor, so that no script is handed what it gives.
 * @template T
 * @param {Promise<T>} promise
 * @returns {Promise<T>}
 */
export const closed = (promise) => {
  defineProperty(promise, 'constructor', /** @type {any} */ ({ __proto__: null, value: NativePromise }));
  return promise;
};
