// What the tabs of one origin agree on: who refreshes, and what became of it.
//
// A refresh is made by one tab at a time, under a Web Lock. Its outcome goes to the others over a
// `BroadcastChannel`: the access token too, because each refresh spends the one refresh cookie that all
// tabs have, so that ten tabs with tokens of their own would make ten. What a listening script of the
// page learns that way it could as well ask the server for, with the cookies that it cannot read.

import {
  NativeAbort, NativeChannel, NativePromise, abort, eventData, later, lock, now, on, post, shelf, signalOf,
} from './native.js';

/** How long a tab waits for the one that refreshes: longer than that takes, unless it is frozen. */
const FROZEN = 15_000;

/** How long a tab that begins waits for what another has. */
const ANSWERED = 150;

/** Where it stands until when the last refresh serves, so that who begins knows whether to ask. */
const DUE = 'tegata.due';

const LOCK = 'tegata.refresh';

/** Whoever takes the lock from a tab has this one. */
const STEAL = 'tegata.steal';

/** So often a tab waits for the one that took the lock: longer together than a refresh can take. */
const ROUNDS = 3;

/**
 * Works under a lock. One that is taken from a tab is no error: whoever took it tells what became of it.
 * @param {string} name
 * @param {string} how Which option it is asked for with, and its value.
 * @param {unknown} value
 * @param {(given: any) => unknown} work
 */
const lent = async (name, how, value, work) => {
  try {
    await lock?.(name, { __proto__: null, [how]: value }, work);
  } catch (error) {
    if (/** @type {any} */ (error)?.name !== 'AbortError') throw error;
  }
};

/**
 * What a refresh gave.
 * @typedef {object} Held
 * @property {string} token
 * @property {string} csrf
 * @property {number} expires When the token dies, in milliseconds.
 * @property {number} due When it is to be replaced.
 */

/**
 * Joins the tabs of this origin.
 * @param {object} member
 * @param {(held: Held) => void} member.held Hears what another tab was given.
 * @param {(reason: string) => void} member.ended Hears that the session has ended.
 * @param {() => Held | undefined} member.holds Says what this tab has, where it still serves.
 */
export const join = ({ held, ended, holds }) => {
  const channel = new NativeChannel('tegata');
  /** @type {undefined | (() => void)} */
  let told;

  /** @param {Held} own */
  const tell = (own) => {
    const { token, csrf, expires, due } = own;
    shelf.write(DUE, '' + due);
    post(channel, { __proto__: null, kind: 'held', token, csrf, expires, due });
  };

  on(channel, 'message', (/** @type {MessageEvent} */ event) => {
    const said = eventData(event);
    if (said?.kind === 'held') {
      held(said);
      if (told) told();
    } else if (said?.kind === 'ended') {
      ended(said.reason);
    } else if (said?.kind === 'ask') {
      const own = holds();
      if (own) tell(own);
    }
  });

  return {
    tell,

    /** Says that the session has ended. @param {string} reason */
    end: (reason) => {
      shelf.drop(DUE);
      post(channel, { __proto__: null, kind: 'ended', reason });
    },

    /**
     * Asks whether another tab has what still serves, and waits a moment for it to be heard. Where nobody
     * has refreshed lately, nobody is asked, unless somebody did while this tab waited for its turn.
     * @param {boolean} waited
     * @returns {Promise<void>}
     */
    ask: (waited) =>
      new NativePromise((resolve) => {
        const due = shelf.read(DUE);
        if (!waited && (!due || +due <= now())) return resolve(undefined);
        told = () => {
          told = undefined;
          resolve(undefined);
        };
        later(() => {
          if (told) shelf.drop(DUE);
          told?.();
        }, ANSWERED);
        post(channel, { __proto__: null, kind: 'ask' });
      }),

    /**
     * Does something that no other tab does at the same time. The lock is taken from a tab that does not
     * give it back: a frozen one. The server then answers both as one.
     * @param {(waited: boolean) => Promise<void>} work Is told whether another tab was before it.
     * @returns {Promise<void>}
     */
    alone: async (work) => {
      if (!lock) return work(false);
      /** @type {any} */
      let free = true;
      await lent(LOCK, 'ifAvailable', true, (given) => {
        free = given;
        return given && work(false);
      });
      if (free) return;
      let begun = false;
      const begin = () => {
        begun = true;
        return work(true);
      };
      // One tab takes the lock at a time, and the others wait again: not for ever, for it may be frozen, too.
      for (let round = 1; !begun; round += 1) {
        const patience = new NativeAbort();
        later(() => begun || abort(patience), FROZEN);
        await lent(LOCK, 'signal', signalOf(patience), begin);
        if (begun) return;
        const how = round > ROUNDS ? 'steal' : 'ifAvailable';
        await lent(STEAL, how, true, (given) => given && lent(LOCK, 'steal', true, begin));
      }
    },
  };
};
