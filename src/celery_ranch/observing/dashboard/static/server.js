// What the page asks its server for.

let token = sessionStorage.getItem("token");
let steering = null;

/** A refusal of the server, in its words. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Take a token that stands in the address, and take it out of there. */
export function takeToken() {
  const found = /^#token=(.+)$/.exec(location.hash);
  if (found) {
    setToken(decodeURIComponent(found[1]));
    history.replaceState(null, "", location.pathname);
  }
}

export function setToken(value) {
  token = value;
  sessionStorage.setItem("token", value);
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(path, { cache: "no-store", ...options, headers });
  if (answer.ok) return answer;
  let sentence = `the server answered ${answer.status}`;
  try {
    sentence = (await answer.json()).error ?? sentence;
  } catch {
    // A proxy in between has words of its own.
  }
  throw new Refused(answer.status, sentence);
}

export async function session() {
  const facts = await (await ask("api/session")).json();
  steering = facts.steering;
  return facts;
}

/** Ask for something: its name, and what is asked as [name, value] pairs. */
export async function look(name, query = [], signal = undefined) {
  return (await ask(`api/${name}?${new URLSearchParams(query)}`, { signal })).json();
}

/** Ask what a control will do ("plan"), or for it to be done ("do"). */
export async function steer(verb, name, facts) {
  const answer = await ask(`api/${verb}/${name}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-ranch-steering": steering },
    body: JSON.stringify(facts),
  });
  return answer.json();
}

const PATIENCE_MS = 6000;

/** Hear the live feed, for ever: told(kind, data) for what comes, lost(error) when it breaks. */
export async function listen(told, lost) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    const ending = new AbortController();
    let timer = null;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => ending.abort(new Error("nothing was heard for a while")), PATIENCE_MS);
    };
    try {
      alive();
      const answer = await ask("api/live", { signal: ending.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) throw new Error("the server ended the feed");
        alive();
        const events = (text + value).split("\n\n");
        text = events.pop();
        for (const event of events) {
          const [, kind, data] = /^event: (\w+)\ndata: (.*)$/.exec(event) ?? [];
          if (kind) told(kind, JSON.parse(data));
          wait = 500;
        }
      }
    } catch (error) {
      clearTimeout(timer);
      ending.abort();
      if (error.status === 401) throw error;
      lost(error);
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}
