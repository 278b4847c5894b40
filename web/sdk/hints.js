// What a server cannot see of the browser that calls it: screen, time zone and plug-ins, in one header. Of two
// browsers with the same cookie, it tells which is another (docs/sessions.md). Nothing of it is secret.

import { codeAt, screenDepth, screenHeight, screenWidth } from './native.js';

/** The 32-bit FNV-1a digest of a text, as 8 hexadecimal digits. @param {string} text */
const digest = (text) => {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ codeAt(text, index), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
};

const plugins = digest(Array.from(navigator.plugins, ({ name }) => name).join());

/**
 * The value of `X-Device-Hints` as it is now: a window may be on another screen, and its person in another zone.
 * The longer side stands first, so that a phone that is turned remains the same.
 */
export const hints = () => {
  const [width, height] = [screenWidth(screen), screenHeight(screen)];
  const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const tz = /^[\w/+:-]{1,64}$/.test(zone) ? `tz=${zone},` : '';
  return `screen=${Math.max(width, height)}x${Math.min(width, height)}x${screenDepth(screen)},${tz}plugins=${plugins}`;
};
