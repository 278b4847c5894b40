// What pages of the console do beyond HTML: they show what changes as it does. Without it, they still work.

// Whoever sees the answer come in need not wait for it.
for (const field of document.querySelectorAll("[data-wait]")) field.remove();

const status = document.getElementById("stream");
const language = document.documentElement.lang;

let source;
let last = "";
let again;

if (status) {
  open();
  // A page that nobody sees holds no connection.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
}

function open() {
  if (source || document.hidden) return;
  clearTimeout(again);
  const after = last ? `&after=${encodeURIComponent(last)}` : "";
  source = new EventSource(status.dataset.stream + after);
  source.addEventListener("open", () => say("live"));
  source.addEventListener("part", (event) => {
    last = event.lastEventId;
    const { part, html } = JSON.parse(event.data);
    show(part, html);
  });
  // It goes on, from another node perhaps.
  source.addEventListener("anew", () => later(500));
  // Whoever may not look on is told why by the page itself.
  source.addEventListener("outside", () => {
    close();
    say("over");
    location.reload();
  });
  source.addEventListener("error", () => {
    say("paused");
    // Browsers come back by themselves, but not after an answer that was no stream.
    if (source?.readyState === EventSource.CLOSED) refused();
  });
}

/** Scripts are not told what came in place of a stream: it is asked for once more. */
async function refused() {
  later(10_000);
  const code = await fetch(status.dataset.stream, { method: "HEAD" }).then((it) => it.status, () => 0);
  if (code === 401 || code === 403) location.reload();
  else if (code === 429) say("full");
}

function close() {
  clearTimeout(again);
  source?.close();
  source = undefined;
}

function later(millis) {
  close();
  say("paused");
  again = setTimeout(open, millis);
}

function say(what) {
  const text = status.dataset[what];
  if (status.textContent !== text) status.textContent = text;
  status.className = `stream ${what}`;
}

/** Shows a part of the page as it is now. What the server sends is made there, by the page's own templates. */
function show(name, html) {
  const part = document.querySelector(`[data-part="${name}"]`);
  if (!part) return;
  const made = document.createElement("template");
  made.innerHTML = html;
  localise(made.content);
  merge(part, made.content);
}

/** Makes one node's children those of another, and leaves alone what is the same: the focus, a selection, and
 *  what a screen reader is reading. */
function merge(old, now) {
  const wanted = [...now.childNodes];
  for (const [place, node] of wanted.entries()) {
    const at = old.childNodes[place];
    if (!at) old.append(node);
    else if (at.isEqualNode(node)) continue;
    else if (alike(at, node)) renew(at, node);
    else {
      // What is gone makes room for what follows it, which stays the same node.
      let next = node.nodeType === Node.ELEMENT_NODE ? at : null;
      while (next && !alike(next, node)) next = next.nextSibling;
      if (!next) old.insertBefore(node, at);
      else {
        for (let gone = at; gone !== next; ) {
          const after = gone.nextSibling;
          gone.remove();
          gone = after;
        }
        renew(next, node);
      }
    }
  }
  while (old.childNodes.length > wanted.length) old.lastChild.remove();
}

const alike = (one, other) =>
  one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id ?? "") === (other.id ?? "");

function renew(old, now) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.nodeValue = now.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  merge(old, now);
}

/** Times are shown as the person's own clock shows them. */
function localise(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const format = { dateStyle: "medium", timeStyle: "short" };
    time.textContent = new Intl.DateTimeFormat(language, format).format(at);
  }
}
