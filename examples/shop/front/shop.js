// The shop in one page: goods, cart, orders, and who is signed in. All it knows of sessions is the SDK.

import { createSession } from '/assets/tegata/session.js';
import { EMBLEMS, WORDS } from './words.js';

const session = createSession();

const $ = (id) => document.getElementById(id);
const VIEWS = ['goods', 'cart', 'orders'];

let lang = navigator.language.startsWith('ja') ? 'ja' : 'en';
let words = WORDS[lang];
let products = [];
let cart = [];
/** What the second step of a sign-in must come with. */
let mfa;
/** What is to be done once somebody is signed in. */
let then;
/** Kept when the page shows who that is, and what is in their cart. */
let greeted;
/** Counts who was here: what was asked for somebody else is not shown. */
let visit = 0;
/** Whether this visit was counted. */
let counted = false;
/** Counts what services were asked of the cart: only the latest answer is shown. */
let asked = 0;

/** An element with a text, or with elements in it. */
const made = (tag, content, more = {}) => {
  const element = Object.assign(document.createElement(tag), more);
  element.append(...[content].flat());
  return element;
};

const price = (cents) => new Intl.NumberFormat(lang, { style: 'currency', currency: 'EUR' }).format(cents / 100);
const say = (text) => { $('said').textContent = text; };

/** Asks a service. Throws what it says where it refuses. */
const ask = async (path, method = 'GET', body, headers = {}) => {
  const init = { method, headers };
  if (body !== undefined) Object.assign(init, { body: JSON.stringify(body), headers: { ...headers, 'Content-Type': 'application/json' } });
  const answer = await session.fetch(path, init);
  const told = answer.status === 204 ? undefined : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told?.detail ?? words.trouble);
  return told;
};

/** Does something, and says what went wrong. The button rests meanwhile. */
const attempt = async (work, button) => {
  if (button) button.disabled = true;
  try {
    await work();
  } catch (error) {
    say(error instanceof TypeError ? words.trouble : error.message);
  } finally {
    if (button) button.disabled = false;
  }
};

const find = (id) => products.find((product) => product.id === id);

function showProducts() {
  const wanted = $('search').value.trim().toLowerCase();
  const kind = $('kind').value;
  const fitting = products.filter((it) => (!kind || it.category === kind) && it.name.toLowerCase().includes(wanted));
  $('products').replaceChildren(...fitting.map((product) => {
    const add = made('button', words.add, { type: 'button' });
    add.setAttribute('aria-label', `${words.add}: ${product.name}`);
    add.addEventListener('click', () => signedIn(() => attempt(() => put(product.id), add)));
    const emblem = made('div', EMBLEMS[product.category] ?? '品', { className: 'emblem', ariaHidden: 'true' });
    const about = `${words.kinds[product.category] ?? product.category} · ${price(product.price_cents)}`;
    return made('li', [emblem, made('h3', product.name, { lang: 'en' }), made('p', about), add]);
  }));
  $('none').hidden = fitting.length > 0 || products.length === 0;
}

function showCart() {
  const total = cart.reduce((sum, line) => sum + (find(line.product_id)?.price_cents ?? 0) * line.quantity, 0);
  $('lines').replaceChildren(...cart.map((line) => {
    const name = find(line.product_id)?.name ?? line.product_id;
    const many = made('input', [], { type: 'number', min: 1, max: 99, value: line.quantity });
    many.setAttribute('aria-label', `${words.quantity}: ${name}`);
    many.addEventListener('change', () => attempt(() => keep(ask(`/carts/cart/items/${line.product_id}`, 'PUT', { quantity: Number(many.value) }))));
    const remove = made('button', words.remove, { type: 'button' });
    remove.setAttribute('aria-label', `${words.remove}: ${name}`);
    remove.addEventListener('click', () => attempt(() => keep(ask(`/carts/cart/items/${line.product_id}`, 'DELETE')), remove));
    return made('li', [made('span', name, { lang: 'en' }), many, made('span', price((find(line.product_id)?.price_cents ?? 0) * line.quantity)), remove]);
  }));
  $('total').textContent = price(total);
  $('empty').hidden = cart.length > 0;
  $('checkout').hidden = cart.length === 0;
  $('count').hidden = cart.length === 0;
  $('count').textContent = cart.reduce((sum, line) => sum + line.quantity, 0);
}

async function showOrders() {
  const mine = visit;
  const { items } = await ask('/orders/orders?limit=100');
  if (mine !== visit) return;
  $('placed').replaceChildren(...items.reverse().map((order) => {
    const at = new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(order.placed_at));
    const what = order.items.map((line) => `${line.quantity} × ${find(line.product_id)?.name ?? line.product_id}`).join(', ');
    const first = made('span', [what, made('small', `${order.id} · ${at}`)]);
    return made('li', [first, made('span', price(order.total_cents)), made('strong', words.state[order.state] ?? order.state)]);
  }));
  $('unordered').hidden = items.length > 0;
}

/** Shows the cart as a service says that it is now. */
async function keep(answer) {
  const mine = (asked += 1);
  const whose = visit;
  const told = await answer;
  if (mine !== asked || whose !== visit) return;
  cart = told?.items ?? [];
  delete $('checkout').dataset.name;
  showCart();
}

async function put(id) {
  const quantity = (cart.find((line) => line.product_id === id)?.quantity ?? 0) + 1;
  await keep(ask(`/carts/cart/items/${id}`, 'PUT', { quantity }));
  say(words.added);
}

/** Shows the part of the page that the address names. */
async function show() {
  const view = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : 'goods';
  const user = await session.user().catch(() => null);
  for (const name of VIEWS) $(name).hidden = name !== view;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${view}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (view === 'goods') return;
  if (user) {
    if (view === 'orders') await attempt(showOrders);
  } else {
    location.hash = '#goods';
    signedIn(() => { location.hash = `#${view}`; });
  }
}

/** Shows who is here, how much they have not read, and the page as they like it: one answer from three services. */
async function showHome() {
  const mine = visit;
  const { data } = await ask('/bff/home');
  if (mine !== visit) return;
  $('who').title = data.user.name;
  $('avatar').src = data.user.avatar;
  $('avatar').hidden = false;
  const unread = data.notifications?.unread_count ?? 0;
  $('unread').textContent = unread;
  $('unread').hidden = unread === 0;
  colour(data.preferences.theme);
  $('theme').hidden = false;
}

function colour(theme) {
  document.documentElement.dataset.theme = $('theme').value = theme;
}

async function greet() {
  const mine = visit;
  const user = await session.user().catch(() => null);
  if (mine !== visit) return;
  $('who').textContent = user?.username ?? '';
  $('who').hidden = $('out').hidden = !user;
  $('in').hidden = Boolean(user);
  if (user) await Promise.all([attempt(() => keep(ask('/carts/cart'))), attempt(showHome)]);
  else await keep(undefined);
}

/** Does something as soon as somebody is signed in. */
async function signedIn(work) {
  if (await session.user().catch(() => null)) return work();
  then = work;
  openDoor();
}

function openDoor() {
  mfa = undefined;
  $('signin').reset();
  $('refused').textContent = '';
  $('first').hidden = false;
  $('second').hidden = true;
  $('username').required = $('password').required = true;
  if (!$('door').open) $('door').showModal();
}

async function knock(event) {
  event.preventDefault();
  const outcome = await session.login(mfa
    ? { mfa_token: mfa.token, method: mfa.method, code: $('code').value }
    : { username: $('username').value, password: $('password').value });
  if (outcome.ok) {
    $('door').close();
    $('signin').reset();
    await greeted;
    const work = then;
    then = undefined;
    return work?.();
  }
  const said = { mfa_required: '', mfa_expired: words.again, too_many_attempts: words.wait, invalid_credentials: words.wrong };
  if (outcome.error === 'mfa_expired') openDoor();
  $('refused').textContent = said[outcome.error] ?? words.trouble;
  if (outcome.error === 'mfa_enrolment_required') return session.login();
  if (outcome.error !== 'mfa_required') return undefined;
  // Passkeys are asked for on the sign-in page.
  const method = outcome.methods?.includes('totp') ? 'totp' : outcome.methods?.find((it) => it !== 'passkey');
  if (!method) return session.login();
  mfa = { token: outcome.mfa_token, method };
  $('username').required = $('password').required = false;
  $('first').hidden = true;
  $('second').hidden = false;
  return $('code').focus();
}

async function order(event) {
  event.preventDefault();
  const form = $('checkout');
  const ship_to = Object.fromEntries(new FormData(form));
  // Whoever orders once more because no answer came orders once.
  const headers = { 'Idempotency-Key': (form.dataset.name ??= crypto.randomUUID()) };
  await attempt(async () => {
    const mine = visit;
    const { state, reason } = await ask('/orders/orders', 'POST', { ship_to }, headers);
    if (mine !== visit) return;
    delete form.dataset.name;
    if (state === 'refused') throw new Error(reason);
    await keep(ask('/carts/cart'));
    say(words.placed);
    location.hash = '#orders';
  }, form.querySelector('button'));
}

function speak() {
  words = WORDS[lang];
  document.documentElement.lang = lang;
  document.title = words.title;
  for (const element of document.querySelectorAll('[data-say]')) element.textContent = words[element.dataset.say];
  for (const element of document.querySelectorAll('[data-label]')) element.setAttribute('aria-label', words[element.dataset.label]);
  const other = lang === 'en' ? ['ja', '日本語'] : ['en', 'English'];
  [$('lang').lang, $('lang').textContent] = other;
  const kind = $('kind').value;
  const kinds = Object.entries(words.kinds).map(([value, text]) => made('option', text, { value }));
  $('kind').replaceChildren(made('option', words.all, { value: '' }), ...kinds);
  $('kind').value = kind;
  const theme = $('theme').value || 'system';
  $('theme').replaceChildren(...Object.entries(words.themes).map(([value, text]) => made('option', text, { value })));
  $('theme').value = theme;
  showProducts();
  showCart();
}

$('lang').addEventListener('click', () => { lang = $('lang').lang; speak(); show(); });
$('in').addEventListener('click', openDoor);
$('shut').addEventListener('click', () => { then = undefined; $('door').close(); });
$('signin').addEventListener('submit', knock);
$('checkout').addEventListener('submit', order);
// What is ordered differently is another order.
$('checkout').addEventListener('input', () => { delete $('checkout').dataset.name; });
$('search').addEventListener('input', showProducts);
$('kind').addEventListener('change', showProducts);
$('theme').addEventListener('change', () => attempt(async () => colour((await ask('/preferences/me', 'PUT', { theme: $('theme').value })).theme), $('theme')));
$('out').addEventListener('click', () => attempt(() => session.logout(), $('out')));
addEventListener('hashchange', show);

// Visits of those are counted who agreed to it. That somebody has chosen is told on loading, too.
document.addEventListener('consent', ({ detail }) => {
  if (!detail.analytics || counted) return;
  counted = true;
  const before = /(?:^|; )shop_visits=([0-9]+)/.exec(document.cookie)?.[1] ?? 0;
  document.cookie = `shop_visits=${Number(before) + 1}; Path=/shop; Max-Age=2592000; SameSite=Lax`;
});

session.onStart(() => {
  visit += 1;
  greeted = greet();
});
session.onEnd((reason) => {
  visit += 1;
  $('checkout').reset();
  $('placed').replaceChildren();
  $('avatar').hidden = $('unread').hidden = $('theme').hidden = true;
  colour('system');
  greet();
  location.hash = '#goods';
  say(reason === 'logout' ? words.signedOut : words.left);
  // Whoever signed out goes on looking at the goods; whoever lost the session is told, and led to the door.
  return reason === 'expired' ? undefined : false;
});

speak();
await attempt(async () => { products = (await ask('/catalogue/products?limit=100')).items; });
showProducts();
await greet();
await show();
