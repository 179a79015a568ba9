// The dialog of a control: first what it will do, then the button that does it.

import { render } from "./vendor/lit-html/lit-html.js";
import { html, nothing } from "./parts.js";
import { state } from "./state.js";
import { readKey, visible } from "./text.js";
import { steer } from "./server.js";

const LIMIT = "a whole number, or inf for none whatever others say; empty: not limited here";
const FORMS = {
  share: { title: "Set a share", fields: [["share", "Share", "0.01 to 100; empty takes back what was set"]] },
  limits: {
    title: "Set limits",
    fields: [["concurrency", "At once", LIMIT], ["rate", "Rate", "10/s, 100/m, 5000/h; empty: not limited here"],
      ["burst", "Burst", "how many may start at once after a pause"], ["backlog", "Backlog", LIMIT]],
  },
  pause: { title: "Pause a key" },
  resume: { title: "Resume a key" },
  "cancel-task": { title: "Cancel a task" },
  "cancel-key": { title: "Cancel all tasks of a key" },
  "cancel-tag": { title: "Cancel all tasks of a tag", fields: [["tag", "Tag", "name=value"]] },
  "move-key": {
    title: "Move a key's tasks",
    fields: [["to_key", "To the key", "parts joined by /; empty: the same key"], ["to_queue", "To the queue", "empty: the same queue"]],
  },
  "move-task": {
    title: "Move a task",
    fields: [["to_key", "To the key", "parts joined by /; empty: the same key"], ["to_queue", "To the queue", "empty: the same queue"]],
  },
  "retry-dead": { title: "Retry dead letters" },
  "delete-dead": { title: "Delete dead letters" },
  "retry-all-dead": { title: "Retry all dead letters" },
  "delete-all-dead": { title: "Delete all dead letters" },
};
const WHOSE = [["tag", "For the tag", "name=value"], ["depth", "Or by default, for keys of so many parts", "1 to 8"]];

let open = null;

/** Whether there is such a control: none are where the page is for reading only. */
export function can(name) {
  return state.session?.controls.includes(name) ?? false;
}

/** A button that opens a control's dialog. */
export function button(name, text, facts, { danger = false, done = () => {}, disabled = false } = {}) {
  return can(name) ? html`<button type="button" class=${danger ? "danger" : ""} ?disabled=${disabled}
    @click=${() => start(name, facts, done)}>${text}</button>` : nothing;
}

function element() {
  return document.getElementById("dialog");
}

function start(name, facts, done) {
  const form = FORMS[name];
  const whose = facts.key || !["share", "limits"].includes(name) ? [] : WHOSE;
  open = { name, facts, done, title: form.title, fields: [...whose, ...(form.fields ?? [])], values: {},
    plan: null, error: "", isBusy: false, number: 0 };
  draw();
  element().showModal();
  element().querySelector("input, button.close")?.focus();
  plan();
}

function valueOf(name, text) {
  if (text === "") return undefined;
  if (name === "to_key") return readKey(text) ?? text;
  return /^-?\d+(\.\d+)?$/.test(text) && !["tag", "to_queue", "rate"].includes(name) ? Number(text) : text;
}

function said() {
  const facts = { ...open.facts };
  for (const [name] of open.fields) {
    const value = valueOf(name, (open.values[name] ?? "").trim());
    if (value !== undefined) facts[name] = value;
  }
  return facts;
}

let typing = null;

function typed(name, text) {
  open.values[name] = text;
  open.plan = null;
  draw();
  clearTimeout(typing);
  typing = setTimeout(plan, 300);
}

async function plan() {
  const mine = open;
  const number = ++mine.number;
  try {
    const found = await steer("plan", mine.name, said());
    if (open === mine && mine.number === number) Object.assign(mine, { plan: found, error: "" });
  } catch (error) {
    if (open === mine && mine.number === number) Object.assign(mine, { plan: null, error: error.message });
  }
  draw();
}

async function act(event) {
  event.preventDefault();
  const mine = open;
  if (!mine?.plan || mine.isBusy) return;
  mine.isBusy = true;
  draw();
  try {
    const { done } = await steer("do", mine.name, said());
    if (open === mine) element().close();
    say(visible(done));
    mine.done();
  } catch (error) {
    Object.assign(mine, { error: error.message, isBusy: false });
    draw();
  }
}

/** Tell what was done, where screen readers hear it too. */
export function say(sentence) {
  const place = document.getElementById("said");
  place.textContent = sentence;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.textContent = ""; }, 10_000);
}

function draw() {
  if (!open) return;
  const { title, fields, values, plan: will, error, isBusy } = open;
  render(html`<form class="control" @submit=${act} novalidate>
    <h2 id="dialog-title">${title}</h2>
    ${fields.map(([name, label, hint]) => html`<div class="field">
      <label for=${`field-${name}`}>${label}</label>
      <input id=${`field-${name}`} name=${name} autocomplete="off" .value=${values[name] ?? ""}
        aria-describedby=${`hint-${name}`} @input=${(event) => typed(name, event.target.value)}>
      <small id=${`hint-${name}`}>${hint}</small></div>`)}
    <div class="plan" aria-live="polite">${error
      ? html`<p class="wrong">${visible(error)}</p>`
      : will ? will.sentences.map((each) => html`<p>${visible(each)}</p>`)
        : html`<p class="empty">What it will do is being asked …</p>`}</div>
    <div class="buttons">
      <button type="button" class="close" @click=${() => element().close()}>Leave it</button>
      <button type="submit" class=${will?.drops ? "danger" : "main"} ?disabled=${!will || isBusy}>${
        isBusy ? "Working …" : will?.button ?? "Wait"}</button>
    </div>
  </form>`, element());
}

document.getElementById("dialog").addEventListener("close", () => {
  open = null;
});
