// Calls of the browser API. They go by `XMLHttpRequest`: a promise looks for `then` on whatever object it
// is resolved with, so a script of the page that puts one on `Object.prototype` would be handed the
// `Response` of a `fetch`, and with it the tokens.

import { hints } from './hints.js';
import {
  NativePromise, NativeXHR, closed, on, parse, xhrAnswerHeader, xhrHeader, xhrOpen, xhrSend, xhrStatus, xhrText,
  xhrTimeout,
} from './native.js';

/** How long an answer may take. */
const PATIENCE = 10_000;

/**
 * @typedef {object} Answer
 * @property {number} status 0: there was none, and nobody knows what became of the request.
 * @property {any} body What it says, where that is JSON.
 * @property {number} wait How many seconds the server wants to be left alone.
 */

/** @param {XMLHttpRequest} xhr */
const read = (xhr) => {
  try {
    return parse(xhrText(xhr));
  } catch {
    return {};
  }
};

/**
 * Asks the browser API of this origin. Always answers.
 * @param {string} verb
 * @param {string} path
 * @param {Record<string, string>} [headers]
 * @param {string} [body]
 * @returns {Promise<Answer>}
 */
export const call = (verb, path, headers, body) =>
  closed(
    new NativePromise((resolve) => {
      const xhr = new NativeXHR();
      const done = () => {
        const status = xhrStatus(xhr);
        const wait = status ? +xhrAnswerHeader(xhr, 'retry-after') || 0 : 0;
        resolve(/** @type {any} */ ({ __proto__: null, status, wait, body: read(xhr) }));
      };
      on(xhr, 'loadend', done);
      xhrOpen(xhr, verb, location.origin + path);
      xhrTimeout(xhr, PATIENCE);
      xhrHeader(xhr, 'X-Device-Hints', hints());
      for (const name in headers) xhrHeader(xhr, name, headers[name]);
      xhrSend(xhr, body);
    }),
  );
