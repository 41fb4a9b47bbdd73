// Requests to the server this page came from, and its streams.

const KEY = "claude-mpm-key";
const SILENT = 40000; // ms without a byte, after which a stream is opened again
const LONGEST_PAUSE = 5000;

export class Problem extends Error {
  constructor(status, body) {
    super(body?.message ?? `the server answered with ${status}`);
    this.status = status;
    this.kind = body?.error ?? "";
  }
}

export const key = () => localStorage.getItem(KEY) ?? "";

export async function call(method, path, body, signal) {
  const headers = { "X-Claude-MPM": key() || "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(`/api/${path}`, {
    method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  let found = null;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Problem(answer.status, { message: "the server's answer cannot be read" });
  }
  if (!answer.ok) throw new Problem(answer.status, found);
  return found;
}

export const get = (path, signal) => call("GET", path, undefined, signal);
export const post = (path, body) => call("POST", path, body);
export const at = (session, rest = "") => `sessions/${encodeURIComponent(session)}${rest}`;

export async function login(code) {
  const found = await call("POST", "login", { code });
  localStorage.setItem(KEY, found.key);
}

export async function logout() {
  await post("logout");
  localStorage.removeItem(KEY);
}

// Server-sent events with a header of ours, which EventSource cannot send. It comes back by itself,
// and goes on behind the last id that it has heard of.
export class Stream {
  constructor(path, { id = "", on, state = () => {} }) {
    this.path = path;
    this.id = id;
    this.on = on;
    this.state = state;
    this.closed = false;
    this.run();
  }

  close() {
    this.closed = true;
    this.abort?.abort();
  }

  async run() {
    let pause = 250;
    while (!this.closed) {
      try {
        await this.once(() => {
          pause = 250;
        });
      } catch (problem) {
        if (this.closed) return;
        if (problem.status === 401 || problem.status === 404 || problem.status === 400) {
          this.state("refused", problem);
          return;
        }
      }
      if (this.closed) return;
      this.state("lost");
      await new Promise((done) => setTimeout(done, pause));
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  }

  async once(alive) {
    this.abort = new AbortController();
    const headers = { "X-Claude-MPM": key() };
    if (this.id) headers["Last-Event-ID"] = this.id;
    const answer = await fetch(`/api/${this.path}`, { headers, signal: this.abort.signal });
    if (!answer.ok) throw new Problem(answer.status, await answer.json());
    this.state("live");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const timer = setTimeout(() => this.abort.abort(), SILENT);
      const { value, done } = await reader.read().finally(() => clearTimeout(timer));
      if (done || this.closed) return;
      alive();
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) this.take(part);
    }
  }

  take(part) {
    const fields = {};
    for (const line of part.split("\n")) {
      const place = line.indexOf(": ");
      if (place > 0) fields[line.slice(0, place)] = line.slice(place + 2);
    }
    if (fields.data === undefined || this.closed) return;
    this.on(fields.event, JSON.parse(fields.data), fields.id);
    if (fields.id !== undefined) this.id = fields.id;
  }
}
