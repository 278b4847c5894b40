// <tegata-consent>: asks which cookies somebody agrees to, and lets them change it. It needs two lines:
//
//   <script type="module" src="/api/consent/banner.js"></script>
//   <tegata-consent></tegata-consent>
//
// It shows itself only while there is something to ask and nothing was chosen. Whatever has
// `data-consent-settings` opens it again. Each choice is told by the event `consent`, whose `detail` says
// which categories are allowed. What it looks like follows custom properties: see banner.css.

const HERE = new URL(import.meta.url);
const API = new URL("../consent", HERE);
const CSRF = new URL("../auth/csrf", HERE);
const STYLE = new URL("banner.css", HERE);

const TEXTS = {
  en: {
    heading: "Cookies",
    lead: "We use cookies that this site needs to work. We would also like to use others, for which we ask you. You can change your choice at any time.",
    accept: "Accept all",
    refuse: "Refuse all",
    settings: "Settings",
    save: "Save settings",
    close: "Close",
    notice: "Privacy notice",
    always: "Always on",
    cookies: "Cookies",
    session: "until the browser closes",
    days: (days) => (days === 1 ? "1 day" : `${days} days`),
    failed: "Your choice could not be saved; what you chose before still holds. Please try again in a moment.",
    changed: "Our policy has changed meanwhile. Please look at it again.",
  },
  ja: {
    heading: "Cookie について",
    lead: "このサイトは、動作に必要な Cookie を使用します。それ以外の Cookie については、使用してよいかお尋ねします。選択はいつでも変更できます。",
    accept: "すべて許可する",
    refuse: "すべて拒否する",
    settings: "詳細設定",
    save: "設定を保存する",
    close: "閉じる",
    notice: "プライバシーに関するお知らせ",
    always: "常に有効",
    cookies: "Cookie",
    session: "ブラウザーを閉じるまで",
    days: (days) => `${days} 日間`,
    failed: "選択を保存できませんでした。以前の選択がそのまま有効です。しばらくしてから、もう一度お試しください。",
    changed: "その間にポリシーが変更されました。もう一度ご確認ください。",
  },
};

const ask = (address, asked) => fetch(address, { credentials: "include", cache: "no-store", ...asked });

async function call(method, lang, body) {
  const address = new URL(API);
  address.searchParams.set("lang", lang);
  const headers = body ? { "Content-Type": "application/json" } : {};
  const asked = { method, headers, body: body && JSON.stringify(body) };
  let answer = await ask(address, asked);
  // Somebody is signed in here, which no script can see: their session has a token for it.
  if (answer.status === 403 && (await answer.clone().json()).error === "csrf") {
    headers["X-CSRF-Token"] = (await (await ask(CSRF)).json()).csrf_token;
    answer = await ask(address, asked);
  }
  if (!answer.ok) throw Object.assign(new Error(`${answer.status}`), { status: answer.status });
  return answer.json();
}

/** Which categories are allowed now. What cannot be known is refused. */
export async function consent() {
  try {
    return (await call("GET", "en")).settings;
  } catch {
    return { essential: true, functional: false, analytics: false, marketing: false };
  }
}

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

class TegataConsent extends HTMLElement {
  #root = this.attachShadow({ mode: "open" });
  #state;
  #box;
  #opener;
  #padding;
  #size = new ResizeObserver(() => this.#makeRoom());
  #heard = (event) => {
    const opener = event.target.closest?.("[data-consent-settings]");
    if (opener) this.open(opener);
  };

  connectedCallback() {
    document.addEventListener("click", this.#heard);
    this.#root.replaceChildren(make("link", { rel: "stylesheet", href: STYLE.href }));
    this.#begin();
  }

  disconnectedCallback() {
    document.removeEventListener("click", this.#heard);
    this.#hide();
  }

  /** Shows the settings. `opener` gets the focus back. */
  async open(opener) {
    this.#opener = opener;
    try {
      this.#state = await call("GET", this.#lang());
    } catch {
      if (!this.#state) return;
    }
    this.#show(true);
    this.#box.querySelector("h2").focus();
  }

  #lang() {
    const said = this.closest("[lang]")?.lang || navigator.language || "en";
    return said.toLowerCase().startsWith("ja") ? "ja" : "en";
  }

  async #begin() {
    try {
      this.#state = await call("GET", this.#lang());
    } catch {
      // Nothing can be asked, so nothing is agreed to.
      return;
    }
    if (!this.#state.asks) return;
    for (const opener of document.querySelectorAll("[data-consent-settings]")) opener.hidden = false;
    if (this.#state.decided) this.#tell();
    else this.#show(false);
  }

  #tell() {
    const detail = { ...this.#state.settings };
    this.dispatchEvent(new CustomEvent("consent", { bubbles: true, composed: true, detail }));
  }

  #show(withSettings) {
    this.#hide();
    const text = TEXTS[this.#lang()];
    const panel = this.#panel(text);
    panel.hidden = !withSettings;
    const toggle = make("button", { type: "button", className: "plain", textContent: text.settings });
    toggle.setAttribute("aria-expanded", String(withSettings));
    toggle.setAttribute("aria-controls", "settings");
    toggle.addEventListener("click", () => this.#toggle(toggle, panel));
    // Refusing is as easy as agreeing: the same buttons, side by side.
    const all = (textContent, allowed) => {
      const button = make("button", { type: "button", className: "choice", textContent });
      button.addEventListener("click", () => this.#choose(() => allowed));
      return button;
    };
    const buttons = make(
      "div",
      { className: "buttons" },
      all(text.refuse, false),
      all(text.accept, true),
      toggle,
    );
    if (this.#state.decided) buttons.append(this.#closing(text));
    this.#box = make(
      "section",
      { lang: this.#lang() },
      make("h2", { id: "heading", tabIndex: -1, textContent: text.heading }),
      make("p", { textContent: text.lead }, ...this.#notice(text)),
      panel,
      make("p", { id: "said", role: "status" }),
      buttons,
    );
    this.#box.setAttribute("aria-labelledby", "heading");
    this.#box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#escape(event, toggle, panel);
    });
    this.#root.append(this.#box);
    this.#size.observe(this.#box);
  }

  #notice(text) {
    const { notice } = this.#state;
    return notice ? [" ", make("a", { href: notice, textContent: text.notice })] : [];
  }

  #closing(text) {
    const button = make("button", { type: "button", className: "plain", textContent: text.close });
    button.addEventListener("click", () => this.#leave());
    return button;
  }

  #panel(text) {
    const categories = this.#state.categories.filter((category) => category.cookies.length > 0);
    const save = make("button", { type: "submit", className: "choice", textContent: text.save });
    const panel = make("form", { id: "settings" }, ...categories.map((it) => category(it, text)), save);
    panel.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#choose((name) => panel.elements.namedItem(name)?.checked === true);
    });
    return panel;
  }

  #toggle(toggle, panel) {
    panel.hidden = !panel.hidden;
    toggle.setAttribute("aria-expanded", String(!panel.hidden));
  }

  // Closes what was opened. A question that was not answered stays: it covers nothing that is needed.
  #escape(event, toggle, panel) {
    if (this.#state.decided) {
      event.stopPropagation();
      this.#leave();
    } else if (!panel.hidden) {
      event.stopPropagation();
      this.#toggle(toggle, panel);
      toggle.focus();
    }
  }

  async #choose(allows) {
    const asked = this.#state.categories.filter((category) => category.needs_consent);
    const settings = Object.fromEntries(asked.map(({ category }) => [category, allows(category)]));
    this.#box.setAttribute("aria-busy", "true");
    try {
      this.#state = await call("PUT", this.#lang(), { version: this.#state.version, settings });
    } catch (error) {
      await this.#failed(error.status === 409);
      return;
    }
    this.#leave();
    this.#tell();
  }

  async #failed(isChanged) {
    const text = TEXTS[this.#lang()];
    if (isChanged) {
      try {
        this.#state = await call("GET", this.#lang());
        this.#show(true);
        this.#box.querySelector("h2").focus();
      } catch {
        // What changed is not known, so it is not said to have.
        isChanged = false;
      }
    }
    this.#box.removeAttribute("aria-busy");
    this.#root.getElementById("said").textContent = isChanged ? text.changed : text.failed;
  }

  #leave() {
    this.#hide();
    if (this.#opener?.isConnected) this.#opener.focus();
    this.#opener = undefined;
  }

  #hide() {
    this.#size.disconnect();
    this.#box?.remove();
    this.#box = undefined;
    if (this.#padding !== undefined) {
      document.body.style.paddingBottom = this.#padding;
      document.documentElement.style.scrollPaddingBottom = "";
      this.#padding = undefined;
    }
  }

  // What is focused or read at the end of the page can be scrolled out from under the banner.
  #makeRoom() {
    if (!this.#box) return;
    if (this.#padding === undefined) this.#padding = document.body.style.paddingBottom;
    document.body.style.paddingBottom = this.#padding;
    const before = getComputedStyle(document.body).paddingBottom;
    document.body.style.paddingBottom = `calc(${before} + ${this.#box.offsetHeight}px)`;
    document.documentElement.style.scrollPaddingBottom = `${this.#box.offsetHeight}px`;
  }
}

/** A category with its switch and its cookies. */
function category({ category: name, title, meaning, needs_consent: asks, allowed, cookies }, text) {
  const box = make("input", { type: "checkbox", id: name, name, checked: allowed, disabled: !asks });
  box.setAttribute("aria-describedby", `${name}-meaning`);
  const label = make("label", { htmlFor: name, textContent: title });
  const head = make("div", { className: "head" }, box, label);
  if (!asks) head.append(make("small", { textContent: text.always }));
  const life = (seconds) =>
    seconds === null ? text.session : text.days(Math.max(1, Math.round(seconds / 86400)));
  const list = cookies.flatMap((cookie) => [
    make("dt", {}, make("code", { textContent: cookie.name }), ` (${life(cookie.life)})`),
    make("dd", { textContent: cookie.purpose }),
  ]);
  return make(
    "div",
    { className: "category" },
    head,
    make("p", { id: `${name}-meaning`, textContent: meaning }),
    make("details", {}, make("summary", { textContent: text.cookies }), make("dl", {}, ...list)),
  );
}

if (!customElements.get("tegata-consent")) customElements.define("tegata-consent", TegataConsent);
