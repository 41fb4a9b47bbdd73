// The rows of all sessions, kept true by one stream for all pages of this browser: a browser has few
// connections for one server, and a seventh page would wait for ever.
import { Stream } from "./api.js";

const NAME = "claude-mpm-fleet";

export const fleet = { rows: new Map(), complete: false, state: "connecting" };
const listeners = new Set();
const pages = new BroadcastChannel(NAME);
let leads = false;
let last = ""; // the id of the last message that was heard, by whichever page

export function onFleet(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function startFleet(refused) {
  pages.onmessage = ({ data: said }) => hear(said, refused);
  pages.postMessage({ asks: true });
  const lead = () => {
    leads = true;
    stream(refused);
    return new Promise(() => {}); // until this page is closed; then another page's turn has come
  };
  // Where there are no locks, each page has a stream of its own.
  if (navigator.locks) navigator.locks.request(NAME, lead);
  else lead();
}

function stream(refused) {
  new Stream("session-changes", {
    id: last,
    on: (_, data, id) => {
      take(data, id);
      pages.postMessage({ data, id });
    },
    state: (state, problem) => {
      setState(state);
      pages.postMessage({ state });
      if (state === "refused") refused(problem);
    },
  });
}

function hear(said, refused) {
  if (said.asks) {
    if (leads) pages.postMessage({ data: snapshot(), id: last, state: fleet.state });
    return;
  }
  if (leads) return;
  if (said.data) take(said.data, said.id);
  if (said.state) setState(said.state);
  if (said.state === "refused") refused({ status: 401, message: "" });
}

const snapshot = () => ({ all: true, complete: fleet.complete, sessions: [...fleet.rows.values()], gone: [] });

function setState(state) {
  fleet.state = state;
  tell(new Set(), false);
}

function take(data, id) {
  if (data.all) fleet.rows.clear();
  for (const row of data.sessions) fleet.rows.set(row.session, row);
  for (const name of data.gone) fleet.rows.delete(name);
  fleet.complete = data.complete;
  last = id;
  tell(new Set([...data.sessions.map((row) => row.session), ...data.gone]), data.all);
}

function tell(changed, all) {
  for (const listener of listeners) listener(changed, all);
}

export const needing = () => [...fleet.rows.values()].filter((row) => row.needs).sort((a, b) => b.changed_at - a.changed_at);
