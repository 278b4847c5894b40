// Passkeys: asks the browser for one, and sends what it gives with the form of the page. Without this,
// pages work for passwords and codes.

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const problem = document.getElementById("passkey_problem");
const button = document.querySelector("button[data-passkey]");
const form = button?.form;

/** What a server asks for, as a browser takes it. */
function read(options) {
  const listed = (list) => list?.map((it) => ({ ...it, id: bytes(it.id) }));
  return {
    ...options,
    challenge: bytes(options.challenge),
    ...(options.user && { user: { ...options.user, id: bytes(options.user.id) } }),
    ...(options.allowCredentials && { allowCredentials: listed(options.allowCredentials) }),
    ...(options.excludeCredentials && { excludeCredentials: listed(options.excludeCredentials) }),
  };
}

/** What a browser gives, as a server takes it. */
function written(credential) {
  const { id, rawId, type, authenticatorAttachment, response } = credential;
  const part = (name) => (response[name] ? text(response[name]) : undefined);
  return {
    id,
    rawId: text(rawId),
    type,
    authenticatorAttachment: authenticatorAttachment ?? undefined,
    clientExtensionResults: {},
    response: {
      clientDataJSON: part("clientDataJSON"),
      attestationObject: part("attestationObject"),
      transports: response.getTransports?.(),
      authenticatorData: response.attestationObject ? undefined : part("authenticatorData"),
      signature: part("signature"),
      userHandle: part("userHandle"),
    },
  };
}

/** Sends the form with what the browser gave, and without what was typed beside it. */
function send(credential) {
  for (const name of ["username", "password", "code"]) {
    const field = form.elements.namedItem(name);
    if (field) field.disabled = true;
  }
  const fields = { credential: JSON.stringify(written(credential)), decision: button.dataset.decision };
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const field = Object.assign(document.createElement("input"), { type: "hidden", name, value });
    form.append(field);
  }
  form.setAttribute("aria-busy", "true");
  form.submit();
}

/** What the server asks for: on the page, or asked for now, because it lasts for minutes only. */
async function asked() {
  if (button.dataset.options) return read(JSON.parse(button.dataset.options));
  const answer = await fetch("/api/auth/login/passkey", { method: "POST" });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return read(await answer.json());
}

/** Shows what went wrong, in the words of the page. */
function tell(error) {
  if (!problem) return;
  const known = error?.name === "InvalidStateError" && problem.dataset.known;
  problem.textContent = known || problem.dataset.failed;
  problem.hidden = false;
}

// The request that waits until somebody chooses a passkey in the field for the user name.
let waiting;

/** Offers passkeys in the field for the user name, for as long as the page is open. */
async function offer() {
  if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
  for (;;) {
    const mine = (waiting = new AbortController());
    const again = setTimeout(() => mine.abort("again"), 240_000);
    try {
      const publicKey = await asked();
      send(await navigator.credentials.get({ publicKey, mediation: "conditional", signal: mine.signal }));
      return;
    } catch {
      if (mine.signal.reason !== "again") return;
    } finally {
      clearTimeout(again);
    }
  }
}

/** Does what the button says. */
async function run() {
  if (problem) problem.hidden = true;
  waiting?.abort("button");
  button.disabled = true;
  try {
    const publicKey = await asked();
    const ask = { publicKey };
    send(await (button.dataset.passkey === "create" ? navigator.credentials.create(ask) : navigator.credentials.get(ask)));
  } catch (error) {
    button.disabled = false;
    tell(error);
    if (button.dataset.offer) offer();
  }
}

/** Whether a page at this address may ask for the passkeys of the domain. */
const reaches = (party) => location.hostname === party || location.hostname.endsWith(`.${party}`);

if (form && window.PublicKeyCredential && reaches(button.dataset.party)) {
  button.hidden = false;
  if (button.type === "submit") {
    // Before those who would send the form as it is.
    document.addEventListener("submit", (event) => {
      if (event.target !== form) return;
      event.preventDefault();
      event.stopPropagation();
      if (!button.disabled) run();
    }, true);
  } else {
    button.addEventListener("click", run);
  }
  if (button.dataset.offer) offer();
} else if (button?.type === "submit") {
  tell();
}
