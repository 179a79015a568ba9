// Pages of what is asked for: a key, dead letters, a task.

import { button, can } from "./controls.js";
import { address, foreign, html, keyLink, nothing, queueLink, table, taskLink, tiles } from "./parts.js";
import { changed, queueNamed, state } from "./state.js";
import { ago, count, moment, number, part, perSecond, seconds, visible, writtenKey } from "./text.js";
import { held, spread } from "./live_pages.js";

function wrong() {
  return state.askedError ? html`<p class="wrong" role="alert">${visible(state.askedError)}</p>` : nothing;
}

const ASKING = html`<p class="empty">Asking …</p>`;

export const key = {
  everyMs: 2000,
  asks: (query) => ["key", [["queue", query.get("queue") ?? ""], ...query.getAll("part").map((each) => ["part", each])]],
  view(query, { again }) {
    const path = query.getAll("part");
    const title = html`<h1 tabindex="-1">Key <span title=${writtenKey(path)}>${foreign(path.length > 1 ? writtenKey(path) : visible(path[0] ?? ""), 60)}</span></h1>`;
    const { asked } = state;
    if (!asked?.status) return html`${title}${wrong()}${state.askedError ? nothing : ASKING}`;
    const { queue: name, status, tasks } = asked;
    const facts = { queue: name, key: path };
    const after = { done: again };
    const above = path.slice(0, -1);
    return html`${title}${wrong()}
      <p>In the queue ${queueLink(name)}${above.length ? html`, below ${keyLink(name, above)}` : nothing}.</p>
      ${tiles([
        ["Waiting", count(status.waiting)], ["Delayed", count(status.delayed)], ["With workers", count(status.leased)],
        ["State", held(status)], ["Share", number(status.share)],
        ["Entitled to", part(status.entitled)], ["Received", part(status.received)],
        ["Oldest wait", seconds(status.oldest_wait)],
        ["Stored", perSecond(status.flow.enqueued_per_second)], ["Ended", perSecond(status.flow.finished_per_second)],
        ["Wait, half / 95 %", spread(status.flow.wait)], ["Run, half / 95 %", spread(status.flow.run)],
        ["Last leased", ago(status.last_leased)],
        status.children && ["Keys below it", count(status.children)],
      ])}
      <div class="buttons">
        ${status.is_paused ? button("resume", "Resume …", facts, after) : button("pause", "Pause …", facts, after)}
        ${button("share", "Share …", facts, after)}${button("limits", "Limits …", facts, after)}
        ${button("move-key", "Move …", facts, after)}
        ${button("cancel-key", "Cancel all …", facts, { ...after, danger: true })}
      </div>
      ${status.limits.length ? table({
        caption: "Limits", rows: status.limits, id: (each) => each.kind,
        columns: [["Limit", (each) => each.kind], ["Used", (each) => number(each.used)], ["At most", (each) => number(each.most)],
          ["Regained", (each) => perSecond(each.per_second)], ["State", (each) => (each.is_reached ? html`<span class="held">reached</span>` : "has room"), "text"]],
      }) : nothing}
      ${status.levels.length ? table({
        caption: "Levels", rows: status.levels, id: (each) => each.level,
        columns: [["Level", (each) => each.level], ["Waiting", (each) => count(each.waiting)], ["Ahead of the others by", (each) => number(each.lead)],
          ["State", (each) => (each.is_racing ? "stands for its turn" : "does not stand for its turn"), "text"]],
      }) : nothing}
      ${asked.tags.length ? html`<h2>Tags</h2><ul class="tags">${asked.tags.map((each) => html`<li>${foreign(each)}</li>`)}</ul>` : nothing}
      ${Object.keys(asked.data).length ? table({
        caption: "Noted of it", rows: Object.entries(asked.data), id: ([each]) => each,
        columns: [["Name", ([each]) => foreign(each)], ["Value", ([, value]) => foreign(JSON.stringify(value), 80), "text"]],
      }) : nothing}
      ${table({
        caption: `The first of its own tasks that wait`, rows: tasks, id: (each) => each.entry_id, empty: "No task of its own waits.",
        columns: [["Task", (each) => taskLink(each.task_id || each.entry_id)], ["Name", (each) => foreign(each.task), "text"],
          ["Arguments", (each) => html`${foreign(each.args)} ${each.kwargs === "{}" ? "" : foreign(each.kwargs)}`, "text wide"],
          ["", (each) => button("cancel-task", "Cancel …", { task_id: each.entry_id }, { ...after, danger: true })]].filter(([name]) => name || can("cancel-task"))
          .map(([name, ...rest]) => [name || "Control", ...rest]),
      })}`;
  },
};

const chosen = new Set();

export const dead = {
  everyMs: 3000,
  asks: (query) => ["dead", [...query].filter(([name]) => ["queue", "offset"].includes(name))],
  view(query, { again }) {
    const title = html`<h1 tabindex="-1">Dead letters</h1>`;
    const { asked } = state;
    const names = state.status?.queues.map((each) => each.queue) ?? [];
    const choice = names.length > 1 ? html`<nav aria-label="Queues"><ul class="tags">${names.map((name) => html`<li>
      <a href=${address("dead", [["queue", name]])} aria-current=${asked?.queue === name ? "page" : "false"}>${foreign(name)}</a>
      ${count(queueNamed(name).dead)}</li>`)}</ul></nav>` : nothing;
    if (!asked?.letters) return html`${title}${choice}${wrong()}${state.askedError ? nothing : ASKING}`;
    const { queue: name, letters, offset, dead: number_ } = asked;
    const here = letters.filter((each) => chosen.has(each.entry_id)).map((each) => each.entry_id);
    const facts = { queue: name, entry_ids: here };
    const after = { disabled: !here.length, done: () => { chosen.clear(); again(); } };
    const pick = (id, isOn) => { chosen[isOn ? "add" : "delete"](id); changed(); };
    const page = (from) => address("dead", [["queue", name], ["offset", from]]);
    return html`${title}${choice}${wrong()}
      <p>${count(number_)} in the queue ${queueLink(name)}, the latest first.</p>
      ${can("retry-dead") && letters.length ? html`<div class="buttons">
        <button type="button" @click=${() => { letters.forEach((each) => chosen.add(each.entry_id)); changed(); }}>Choose these ${letters.length}</button>
        ${button("retry-dead", `Retry ${here.length} …`, facts, after)}
        ${button("delete-dead", `Delete ${here.length} …`, facts, { ...after, danger: true })}
        ${button("retry-all-dead", "Retry all …", { queue: name }, { done: after.done })}
        ${button("delete-all-dead", "Delete all …", { queue: name }, { danger: true, done: after.done })}</div>` : nothing}
      ${table({
        caption: "Dead letters", rows: letters, id: (each) => each.entry_id, empty: "There is none.",
        columns: [
          ["Task", (each) => html`${can("retry-dead") ? html`<input type="checkbox" aria-label=${`Choose ${visible(each.task_id || each.entry_id)}`}
            .checked=${chosen.has(each.entry_id)} @change=${(event) => pick(each.entry_id, event.target.checked)}> ` : nothing}${taskLink(each.task_id || each.entry_id)}`],
          ["Name", (each) => foreign(each.task || "?"), "text"], ["Key", (each) => keyLink(name, each.key), "text"],
          ["Died", (each) => moment(each.died_at), "text wide"], ["Deliveries", (each) => count(each.deliveries), "wide"],
          ["Reason", (each) => foreign(each.reason, 80), "text"],
          ["Arguments", (each) => html`${foreign(each.args)} ${each.kwargs === "{}" ? "" : foreign(each.kwargs)}`, "text wide"],
        ],
      })}
      <p class="buttons">${offset ? html`<a href=${page(Math.max(0, offset - 50))}>Later ones</a>` : nothing}
        ${offset + letters.length < number_ ? html`<a href=${page(offset + letters.length)}>Earlier ones</a>` : nothing}</p>`;
  },
};

export const task = {
  everyMs: 2000,
  asks: (query) => (query.get("id") ? ["task", [["id", query.get("id")]]] : null),
  view(query, { again }) {
    const id = query.get("id") ?? "";
    const go = (event) => {
      event.preventDefault();
      location.hash = address("task", [["id", new FormData(event.target).get("id").trim()]]);
    };
    const { asked } = state;
    return html`<h1 tabindex="-1">Why is it waiting?</h1>
      <form class="control" @submit=${go}><div class="field"><label for="task-id">The task's id</label>
        <input id="task-id" name="id" .value=${id} autocomplete="off" required></div><div class="buttons"><button class="main">Ask</button></div></form>
      ${wrong()}
      ${id && !asked && !state.askedError ? ASKING : nothing}
      ${asked?.sentence ? html`<p class="answer">${visible(asked.sentence)}</p>` : nothing}
      ${asked?.facts ? explained(asked, again) : nothing}`;
  },
};

const PRECISION = { exact: "", "at most": "at most ", about: "about " };

function explained({ facts, id }, again) {
  const isWaiting = ["waiting", "delayed"].includes(facts.state);
  const since = (us) => (us == null ? null : ago((facts.at_us - us) / 1e6));
  const until = (us) => (us == null ? null : us > facts.at_us ? `in ${seconds((us - facts.at_us) / 1e6)}` : since(us));
  return html`${facts.key.length ? html`<p>Of the key ${keyLink(facts.queue, facts.key)} in the queue ${queueLink(facts.queue)}.</p>` : nothing}
    ${isWaiting ? html`<div class="buttons">${button("cancel-task", "Cancel …", { task_id: id }, { danger: true, done: again })}
      ${button("move-task", "Move …", { task_id: id }, { done: again })}</div>` : nothing}
    ${tiles([
      ["State", facts.state],
      facts.ahead != null && ["Before it, of all", `${PRECISION[facts.precision] ?? ""}${count(facts.ahead)}`],
      facts.position != null && ["Before it, of its key", count(facts.position)],
      isWaiting && ["Should start in", facts.starts_in_us == null ? "unknown" : seconds(facts.starts_in_us / 1e6)],
      facts.level != null && ["Level", facts.level],
      facts.cost != null && ["Cost", number(facts.cost / 1e6)],
      facts.deliveries != null && ["Deliveries", count(facts.deliveries)],
      facts.due_at_us != null && ["Due", until(facts.due_at_us)],
      facts.since_us != null && facts.since_us <= facts.at_us && ["Could have run", since(facts.since_us)],
      facts.expires_at_us != null && ["Expires", until(facts.expires_at_us)],
      facts.worker != null && ["Worker", foreign(facts.worker)],
      facts.leased_at_us != null && ["Leased", since(facts.leased_at_us)],
      facts.died_at_us != null && ["Died", since(facts.died_at_us)],
      isWaiting && ["Workers of its queue", count(facts.workers)],
    ])}
    ${facts.blockers.length ? table({
      caption: "What holds it back", rows: facts.blockers, id: (each) => `${each.kind} ${each.key.join("\n")}`,
      columns: [["Key", (each) => keyLink(facts.queue, each.key)], ["By", (each) => each.kind, "text"],
        ["With workers", (each) => (each.limit == null ? "–" : `${count(each.running)} of ${count(each.limit)}`)],
        ["Until", (each) => until(each.until_us) ?? "–"]],
    }) : nothing}`;
}
