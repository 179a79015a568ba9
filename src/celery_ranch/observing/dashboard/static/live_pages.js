// Pages of the live feed: all queues, one queue, the workers.

import { chart } from "./charts.js";
import { button } from "./controls.js";
import { address, bar, foreign, html, keyLink, nothing, queueLink, table, tiles } from "./parts.js";
import { queueNamed, state } from "./state.js";
import { ago, count, number, part, perSecond, seconds, visible } from "./text.js";

const WAITING = html`<p class="empty">Waiting for the first figures …</p>`;

function sum(queues, figure) {
  const known = queues.map(figure).filter((each) => each != null);
  return known.length ? known.reduce((a, b) => a + b, 0) : null;
}

function charts(names) {
  const all = names.map((name) => state.seen.get(name) ?? []);
  const longest = all.reduce((a, b) => (b.length > a.length ? b : a), []);
  const times = longest.map(([at]) => at);
  const line = (column) => times.map((_, at) => all.reduce((total, samples) => {
    const value = samples[samples.length - times.length + at]?.[column];
    return value == null ? total : (total ?? 0) + value;
  }, null));
  const stamp = times.at(-1);
  return html`<div class="charts">
    ${chart({ title: "Since this page is open: tasks", series: ["waiting", "with workers"], data: [times, line(1), line(2)], shown: (value) => number(value), stamp })}
    ${chart({ title: "Since this page is open: tasks a second", series: ["stored", "ended"], data: [times, line(3), line(4)], shown: (value) => `${number(value)}/s`, stamp })}
  </div>`;
}

export function spread({ p50, p95, p99 }) {
  return p50 == null ? "–" : html`<span title=${`half: ${seconds(p50)}, 95 of 100: ${seconds(p95)}, 99 of 100: ${seconds(p99)} at most`}>${seconds(p50)} / ${seconds(p95)}</span>`;
}

function keyColumns(queueOf) {
  return [
    ["Key", (each) => keyLink(queueOf(each), each.key)],
    ["Waiting", (each) => count(each.waiting)],
    ["Delayed", (each) => count(each.delayed), "wide"],
    ["With workers", (each) => count(each.leased), "wide"],
    ["Oldest", (each) => seconds(each.oldest_wait)],
    ["Share", (each) => number(each.share), "wide"],
    ["Entitled", (each) => html`${part(each.entitled)} ${bar(each.entitled, "entitled")}`, "wide"],
    ["Received", (each) => html`${part(each.received)} ${bar(each.received, "received")}`, "wide"],
    ["State", (each) => held(each), "text"],
  ];
}

/** What holds a key back, in words. */
export function held(each) {
  const reached = each.limits.filter((limit) => limit.is_reached).map((limit) => `at its ${limit.kind} limit`);
  const words = [...(each.is_paused ? ["paused"] : []), ...reached];
  if (words.length) return html`<span class="held">${words.join(", ")}</span>`;
  if (each.levels.some((level) => level.is_racing)) return "in turn";
  return each.waiting ? "held back" : each.leased ? "with workers" : each.delayed ? "delayed" : "idle";
}

export function overview() {
  const { status } = state;
  if (!status) return html`<h1 tabindex="-1">Overview</h1>${WAITING}`;
  const { queues, workers: all } = status;
  const keys = queues.flatMap((queue) => queue.keys.filter((each) => each.key.length === 1)
    .map((each) => ({ ...each, queue: queue.queue })))
    .sort((a, b) => b.waiting - a.waiting).slice(0, 10);
  const dead = sum(queues, (each) => each.dead);
  return html`<h1 tabindex="-1">Overview</h1>
    ${tiles([
      ["Waiting", count(sum(queues, (each) => each.waiting))],
      ["Delayed", count(sum(queues, (each) => each.delayed))],
      ["With workers", count(sum(queues, (each) => each.leased))],
      ["Stored", perSecond(sum(queues, (each) => each.flow.enqueued_per_second))],
      ["Ended", perSecond(sum(queues, (each) => each.flow.finished_per_second))],
      ["Failed", perSecond(sum(queues, (each) => each.flow.failed_per_second))],
      ["Dead letters", html`<a href="#/dead">${count(dead)}</a>`, dead ? "alert" : ""],
      ["Workers", html`<a href="#/workers">${count(all.filter((each) => each.is_alive).length)}</a>`],
    ])}
    ${table({
      caption: "Queues", rows: queues, id: (each) => each.queue, empty: "No task was ever stored.",
      columns: [
        ["Queue", (each) => queueLink(each.queue)],
        ["Waiting", (each) => count(each.waiting)],
        ["Delayed", (each) => count(each.delayed), "wide"],
        ["With workers", (each) => count(each.leased), "wide"],
        ["Dead", (each) => count(each.dead), "wide"],
        ["Stored", (each) => perSecond(each.flow.enqueued_per_second), "wide"],
        ["Ended", (each) => perSecond(each.flow.finished_per_second)],
        ["Wait, half / 95 %", (each) => spread(each.flow.wait), "wide"],
        ["Oldest", (each) => seconds(each.oldest_wait)],
        ["Evenness", (each) => number(each.evenness), "wide"],
        ["Workers", (each) => count(each.workers), "wide"],
      ],
    })}
    ${status.more_queues ? html`<p>and ${count(status.more_queues)} queues more</p>` : nothing}
    ${charts(queues.map((each) => each.queue))}
    ${table({
      caption: "Keys with most waiting", rows: keys, id: (each) => `${each.queue}\n${each.key.join("\n")}`,
      empty: "Nobody waits.", columns: [...keyColumns((each) => each.queue).slice(0, 1),
        ["Queue", (each) => queueLink(each.queue), "text wide"], ...keyColumns((each) => each.queue).slice(1)],
    })}`;
}

const HOURS = ["1", "3", "6"];

function history(name, query) {
  const { asked, askedError } = state;
  if (!asked?.at) return askedError ? html`<p class="wrong" role="alert">${visible(askedError)}</p>` : nothing;
  // Before workers first counted there is nothing to be seen.
  const known = asked.ended.findIndex((each) => each != null);
  const from = Math.max(0, Math.min(known < 0 ? 0 : known - 1, asked.at.length - 10));
  const at = asked.at.slice(from);
  const stamp = `${at.at(-1)} ${at.length}`;
  const hours = query.get("hours") ?? "6";
  const rate = (value) => `${number(value)}/s`;
  const facts = (title, series, columns, shown, least) => chart({ title, series, shown, stamp, least,
    data: [at, ...columns.map((each) => asked[each].slice(from))] });
  return html`<h2>The last ${hours === "1" ? "hour" : `${hours} hours`}, as workers counted</h2>
    <nav aria-label="How far back"><ul class="tags">${HOURS.map((each) => html`<li><a aria-current=${each === hours ? "page" : "false"}
      href=${address("queue", [["name", name], ["hours", each]])}>${each} h</a></li>`)}</ul></nav>
    <div class="charts">
      ${facts("Tasks a second", ["stored", "ended", "failed"], ["stored", "ended", "failed"], rate)}
      ${facts("How long tasks waited", ["half", "95 of 100"], ["wait_p50", "wait_p95"], seconds, 0.01)}
      ${facts("How long tasks ran", ["half", "95 of 100"], ["run_p50", "run_p95"], seconds, 0.01)}
    </div>`;
}

function queueView(query) {
  const name = query.get("name") ?? "";
  const found = queueNamed(name);
  const title = html`<h1 tabindex="-1">Queue ${foreign(name)}</h1>`;
  if (!state.status) return html`${title}${WAITING}`;
  if (!found) return html`${title}<p class="empty">There is no such queue among those shown.</p>`;
  const { flow, other } = found;
  return html`${title}
    ${tiles([
      ["Waiting", count(found.waiting)], ["Delayed", count(found.delayed)], ["With workers", count(found.leased)],
      ["Dead letters", html`<a href=${address("dead", [["queue", name]])}>${count(found.dead)}</a>`, found.dead ? "alert" : ""],
      ["Workers", count(found.workers)],
      ["Stored", perSecond(flow.enqueued_per_second)], ["Ended", perSecond(flow.finished_per_second)],
      ["Failed", perSecond(flow.failed_per_second)],
      ["Wait, half / 95 %", spread(flow.wait)], ["Run, half / 95 %", spread(flow.run)],
      ["Oldest wait", seconds(found.oldest_wait)], ["Next due", found.next_due == null ? "–" : `in ${seconds(Math.max(0, found.next_due))}`],
      ["Evenness", number(found.evenness)],
    ])}
    <div class="buttons">${button("share", "Shares by tag or default …", { queue: name })}
      ${button("limits", "Limits by tag or default …", { queue: name })}
      ${button("cancel-tag", "Cancel by tag …", { queue: name }, { danger: true })}</div>
    ${charts([name])}
    ${history(name, query)}
    ${table({ caption: "Keys", rows: found.keys, id: (each) => each.key.join("\n"), columns: keyColumns(() => name), empty: "Nobody waits." })}
    ${other.keys ? html`<p>and ${count(other.keys)} other keys with ${count(other.waiting)} tasks
      waiting, ${count(other.delayed)} delayed and ${count(other.leased)} with workers${
        other.received == null ? "" : `; they received ${part(other.received)}`}</p>` : nothing}
    ${table({
      caption: "Levels", rows: found.levels, id: (each) => each.level, empty: "Nothing waits or runs at any level.",
      columns: [
        ["Level", (each) => each.level], ["Waiting", (each) => count(each.waiting)], ["With workers", (each) => count(each.leased)],
        ["Keys in turn", (each) => count(each.keys)], ["Ended", (each) => perSecond(each.flow.finished_per_second)],
        ["Wait, half / 95 %", (each) => spread(each.flow.wait), "wide"],
      ],
    })}`;
}

export const queue = {
  everyMs: 30_000,
  asks: (query) => ["history", [["queue", query.get("name") ?? ""], ["hours", query.get("hours") ?? "6"]]],
  view: queueView,
};

export function workers() {
  const { status } = state;
  const title = html`<h1 tabindex="-1">Workers</h1>`;
  if (!status) return html`${title}${WAITING}`;
  return html`${title}${table({
    caption: "All workers", rows: status.workers, id: (each) => each.worker, empty: "No worker is known.",
    columns: [
      ["Worker", (each) => foreign(each.worker, 32)],
      ["State", (each) => (each.is_alive ? "alive" : html`<span class="held">does not beat</span>`), "text"],
      ["Beat", (each) => ago(each.beat_age)],
      ["Leases", (each) => count(each.leased)],
      ["Slots", (each) => (each.capacity == null ? "–" : `${count(each.slots_taken)} of ${count(each.capacity)}`)],
      ["Ahead", (each) => (each.lookahead == null ? "–" : `${count(each.stocked)} of ${count(each.lookahead)}`), "wide"],
      ["A run takes", (each) => seconds(each.run_seconds), "wide"],
      ["Queues", (each) => foreign(each.queues.join(", ")), "text wide"],
      ["Host", (each) => html`${visible(each.host)}${each.pid == null ? "" : ` (${each.pid})`}`, "text wide"],
      ["Version", (each) => each.version, "text wide"],
    ],
  })}
  ${status.more_workers ? html`<p>and ${count(status.more_workers)} workers more</p>` : nothing}`;
}
