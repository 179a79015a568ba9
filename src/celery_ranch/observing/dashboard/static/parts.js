// Parts that pages are made of.

import { html, nothing } from "./vendor/lit-html/lit-html.js";
import { repeat } from "./vendor/lit-html/directives/repeat.js";
import { cut, visible, writtenKey } from "./text.js";

export { html, nothing };

/** The address of a page within this one. */
export function address(page, facts = []) {
  const query = new URLSearchParams(facts).toString();
  return `#/${page}${query ? `?${query}` : ""}`;
}

export function keyAddress(queue, path) {
  return address("key", [["queue", queue], ...path.map((each) => ["part", each])]);
}

/** A text of somebody else's: cut where it is long, the whole on the title. */
export function foreign(text, most = 40) {
  const whole = visible(text);
  const shown = cut(whole, most);
  return shown === whole ? whole : html`<span title=${whole}>${shown}</span>`;
}

export function keyLink(queue, path, most = 32) {
  const whole = writtenKey(path);
  return html`<a class="key" href=${keyAddress(queue, path)} title=${whole}>${cut(whole, most)}</a>`;
}

export function queueLink(queue) {
  const whole = visible(queue);
  return html`<a class="key" href=${address("queue", [["name", queue]])} title=${whole}>${cut(whole, 32)}</a>`;
}

export function taskLink(id, text = null) {
  return html`<a class="key" href=${address("task", [["id", id]])} title=${visible(id)}>${text ?? cut(visible(id), 20)}</a>`;
}

/** Figures with their names; what is not there is left out. */
export function tiles(facts) {
  return html`<dl class="tiles">${facts.filter(Boolean).map(([name, value, kind]) => html`
    <div class=${kind ?? ""}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/**
 * A table. columns: [heading, cell(row), kind], the first one heads its row; a kind is "text",
 * or "wide" for what a telephone leaves out. id(row) says which row is the same as before.
 */
export function table({ caption, columns, rows, id, empty = "Nothing is there." }) {
  if (!rows.length) return html`<h2>${caption}</h2><p class="empty">${empty}</p>`;
  const [head, ...others] = columns;
  return html`<div class="table" role="region" tabindex="0" aria-label=${caption}>
    <table>
      <caption>${caption}</caption>
      <thead><tr>${columns.map(([name, , kind], at) => html`
        <th scope="col" class=${`${kind ?? ""}${at ? "" : " text"}`}>${name}</th>`)}</tr></thead>
      <tbody>${repeat(rows, id, (row) => html`<tr>
        <th scope="row">${head[1](row)}</th>
        ${others.map(([, cell, kind]) => html`<td class=${kind ?? ""}>${cell(row)}</td>`)}
      </tr>`)}</tbody>
    </table></div>`;
}

/** A part of a whole as a bar; its figure stands beside it. */
export function bar(value, name) {
  return value == null ? nothing
    : html`<meter min="0" max="1" value=${Math.max(0, Math.min(1, value))} aria-label=${name}></meter>`;
}
