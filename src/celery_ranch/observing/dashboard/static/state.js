// What the page knows, and who is told when that changes.

const LONGEST_MS = 900_000;

export const state = {
  session: null,
  needsToken: false,
  status: null,
  /** When the status came, by this page's clock. */
  statusAt: 0,
  /** "connecting", "live", "trouble" (its server cannot look) or "lost" (its server is away). */
  connection: "connecting",
  trouble: "",
  /** What was asked for by the page that is shown. */
  asked: null,
  askedError: "",
  /** Queue -> what was seen since this page is open: [at, waiting, leased, in/s, out/s]. */
  seen: new Map(),
};

let listener = () => {};

export function onChange(call) {
  listener = call;
}

let isAsked = false;

/** Let the page be drawn anew, once however often it is asked for. */
export function changed() {
  if (isAsked) return;
  isAsked = true;
  // Not by frames: they rest while a page is in the background.
  setTimeout(() => {
    isAsked = false;
    listener();
  });
}

export function told(kind, data) {
  if (kind === "status") {
    state.status = data;
    state.statusAt = performance.now();
    state.connection = "live";
    state.trouble = "";
    remember(data);
  } else if (kind === "trouble") {
    state.connection = "trouble";
    state.trouble = data.error;
  } else if (state.connection === "lost" || state.connection === "connecting") {
    state.connection = "trouble";
    state.trouble = "a look takes long";
  }
  changed();
}

export function lost(error) {
  state.connection = "lost";
  state.trouble = error.message;
  changed();
}

function remember(status) {
  for (const queue of status.queues) {
    if (!state.seen.has(queue.queue)) state.seen.set(queue.queue, []);
    const samples = state.seen.get(queue.queue);
    samples.push([status.at, queue.waiting, queue.leased,
      queue.flow.enqueued_per_second, queue.flow.finished_per_second]);
    while (samples[0][0] < status.at - LONGEST_MS / 1000) samples.shift();
  }
}

export function queueNamed(name) {
  return state.status?.queues.find((each) => each.queue === name);
}
