// The page: which of its pages is shown, and how it stands with its server.

import { render } from "./vendor/lit-html/lit-html.js";
import { address, html, nothing } from "./parts.js";
import { cut, readKey, seconds, visible } from "./text.js";
import { changed, lost, onChange, state, told } from "./state.js";
import { listen, look, session, setToken, takeToken } from "./server.js";
import { overview, queue, workers } from "./live_pages.js";
import { dead, key, task } from "./asked_pages.js";

const PAGES = {
  overview: { title: "Overview", view: overview },
  workers: { title: "Workers", view: workers },
  dead: { title: "Dead letters", ...dead },
  task: { title: "Why is it waiting?", ...task },
  queue: { title: "Queue", ...queue },
  key: { title: "Key", ...key },
};
const MENU = ["overview", "workers", "dead", "task"];
const STALE_SECONDS = 4;

let here = { name: "overview", query: new URLSearchParams() };
let asking = null;

function read() {
  const [name, query] = location.hash.replace(/^#\/?/, "").split("?");
  here = { name: Object.hasOwn(PAGES, name) ? name : "overview", query: new URLSearchParams(query) };
}

/** Ask again and again for what this page shows besides the feed. */
function ask() {
  asking?.abort();
  const page = PAGES[here.name];
  state.asked = null;
  state.askedError = "";
  if (!page.asks || !state.session) return;
  const mine = asking = new AbortController();
  const { query } = here;
  const once = async () => {
    const what = page.asks(query);
    if (!what) return;
    try {
      const found = await look(...what, mine.signal);
      if (mine.signal.aborted) return;
      Object.assign(state, { asked: found, askedError: "" });
    } catch (error) {
      if (mine.signal.aborted) return;
      state.askedError = error.message;
    }
    changed();
  };
  page.again = once;
  (async () => {
    while (!mine.signal.aborted) {
      if (!document.hidden) await once();
      await new Promise((resolve) => setTimeout(resolve, page.everyMs));
    }
  })();
}

function age() {
  return state.status === null ? null : (performance.now() - state.statusAt) / 1000;
}

function connection() {
  const old = age();
  const figures = old === null ? "" : ` The figures are of ${seconds(Math.round(old))} ago.`;
  const { connection: how, trouble } = state;
  if (how === "lost") return ["bad", `Connection lost: ${visible(trouble)}. Trying again.`, figures];
  if (how === "trouble") return ["bad", visible(trouble), figures];
  if (how === "connecting") return ["wait", "Connecting …", ""];
  if (old > STALE_SECONDS) return ["bad", "The server sends nothing new.", figures];
  return ["good", "Live", ""];
}

let saidOfConnection = "";

function find(event) {
  event.preventDefault();
  const text = new FormData(event.target).get("what").trim();
  if (!text) return;
  if (/^[0-9a-f]{8}-[0-9a-f-]{27}/i.test(text)) location.hash = address("task", [["id", text]]);
  else {
    const path = readKey(text);
    const name = here.query.get("queue") ?? here.query.get("name") ?? state.session?.default_queue ?? "";
    if (path) location.hash = address("key", [["queue", name], ...path.map((each) => ["part", each])]);
  }
  event.target.reset();
}

function header() {
  const [kind, sentence, figures] = connection();
  const facts = state.session;
  return html`<div class="bar">
    <a class="name" href="#/overview">celery-ranch${facts?.app ? html` <span>${cut(visible(facts.app), 24)}</span>` : nothing}</a>
    <nav aria-label="Pages"><ul>${MENU.map((name) => html`<li><a href=${`#/${name}`}
      aria-current=${here.name === name ? "page" : "false"}>${PAGES[name].title}</a></li>`)}</ul></nav>
    <form role="search" @submit=${find}><input name="what" type="search" aria-label="Find a key or a task's id"
      placeholder="Key or task id" autocomplete="off"><button>Find</button></form>
    ${facts?.is_read_only ? html`<span class="badge">read only</span>` : nothing}
    <span class=${`badge ${kind}`} id="connection">${kind === "good" ? sentence : kind === "wait" ? sentence : "Not live"}</span>
  </div>
  ${kind === "bad" ? html`<p class="alarm" id="alarm">${sentence}${figures}</p>` : nothing}`;
}

function tokenForm() {
  const give = async (event) => {
    event.preventDefault();
    setToken(new FormData(event.target).get("token"));
    event.target.reset();
    await begin();
  };
  return html`<h1 tabindex="-1">A token is needed</h1>
    <p>Who started this page was told its token, or gave it.</p>
    <form class="control" @submit=${give}><div class="field"><label for="token">Token</label>
      <input id="token" name="token" type="password" autocomplete="current-password" required></div>
      ${state.trouble ? html`<p class="wrong" role="alert">${visible(state.trouble)}</p>` : nothing}
      <div class="buttons"><button class="main">Enter</button></div></form>`;
}

function draw() {
  const focused = document.activeElement;
  render(header(), document.getElementById("header"));
  const page = PAGES[here.name];
  let shown;
  if (state.needsToken) shown = tokenForm();
  else if (!state.session) shown = html`<h1 tabindex="-1">celery-ranch</h1><p class="empty">Connecting …</p>`;
  else shown = page.view(here.query, { again: () => page.again?.() });
  render(shown, document.getElementById("main"));
  document.getElementById("main").classList.toggle("stale", ["trouble", "lost"].includes(state.connection));
  // A row that moves loses the focus.
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
  const [kind, sentence] = connection();
  if (kind !== saidOfConnection && kind !== "wait") {
    if (saidOfConnection) document.getElementById("said").textContent = sentence;
    saidOfConnection = kind;
  }
}

function go() {
  read();
  const page = PAGES[here.name];
  document.title = `${page.title} · celery-ranch`;
  ask();
  draw();
  scrollTo(0, 0);
  document.querySelector("main h1")?.focus({ preventScroll: true });
}

async function begin() {
  for (;;) {
    try {
      Object.assign(state, { session: await session(), needsToken: false, trouble: "" });
      break;
    } catch (error) {
      if (error.status === 401) {
        Object.assign(state, { needsToken: true, trouble: sessionStorage.getItem("token") ? error.message : "" });
        changed();
        return;
      }
      lost(error);
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  go();
  listen(told, lost).catch(() => {
    Object.assign(state, { needsToken: true, trouble: "the token is another one now" });
    changed();
  });
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
addEventListener("hashchange", go);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
// What stood there until now was to be seen at once.
for (const id of ["header", "main"]) document.getElementById(id).replaceChildren();
onChange(draw);
setInterval(changed, 1000);
takeToken();
read();
draw();
begin();
