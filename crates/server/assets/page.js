// What pages do beyond HTML: show the password, take over what a link carries, and send a form once.
// Without it, they still work.

const reveal = document.getElementById("reveal");
const password = document.getElementById("password");

if (reveal && password) {
  reveal.hidden = false;
  reveal.setAttribute("aria-pressed", "false");
  reveal.addEventListener("click", () => {
    const show = password.type === "password";
    password.type = show ? "text" : "password";
    reveal.textContent = show ? reveal.dataset.hide : reveal.dataset.show;
    reveal.setAttribute("aria-pressed", String(show));
    password.focus();
  });
}

// What a link from a mail carries stands behind `#`, which no server sees. Without scripts it is typed.
const link = document.getElementById("link");

if (link && location.hash.length > 1) {
  link.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
  const field = document.getElementById("from-mail");
  if (field) field.hidden = true;
}

for (const form of document.forms) {
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) {
      event.preventDefault();
      return;
    }
    sent = true;
    form.setAttribute("aria-busy", "true");
    // Browsers that store what was typed should not find a password in clear sight.
    if (password) password.type = "password";
  });
}

// A page that comes back out of the browser's memory can be sent again.
window.addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

// Times are shown as the person's own clock shows them.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) continue;
  const format = { dateStyle: "medium", timeStyle: "short" };
  time.textContent = new Intl.DateTimeFormat(document.documentElement.lang, format).format(at);
}
