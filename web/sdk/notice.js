// Tells the person that their session has ended.

import { later } from './native.js';

/** How long it is shown. */
const SHOWN = 5_000;

const WORDS = {
  en: 'Your session has ended. Please sign in again.',
  ja: 'セッションが終了しました。もう一度サインインしてください。',
};

// A sheet that a script makes is none that a policy has to allow, as inline styles would be.
const STYLE = `.tegata-notice{position:fixed;inset:auto 1rem 1rem;z-index:2147483647;max-width:32rem;margin:auto;
padding:.875rem 1.125rem;border-left:4px solid #e0654c;background:#1f1c18;color:#fffefb;
font:1rem/1.5 system-ui,sans-serif}`;

/** Shows it, in the language of the page or of the browser. */
export const notice = () => {
  const tag = document.documentElement.lang || navigator.language;
  const lang = /^ja\b/i.test(tag) ? 'ja' : 'en';
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLE);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const shown = document.createElement('div');
  shown.className = 'tegata-notice';
  shown.lang = lang;
  shown.role = 'alert';
  document.body.append(shown);
  // Screen readers read what changes in an alert that is there.
  shown.textContent = WORDS[lang];
  later(() => shown.remove(), SHOWN);
};
