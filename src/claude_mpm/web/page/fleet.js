// The rows of all sessions, kept true by one stream.
import { Stream } from "./api.js";

export const fleet = { rows: new Map(), complete: false, state: "connecting" };
const listeners = new Set();
let stream = null;

export function onFleet(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function startFleet(refused) {
  stream?.close();
  stream = new Stream("session-changes", {
    on: (_, data) => take(data),
    state: (state, problem) => {
      fleet.state = state;
      if (state === "refused") refused(problem);
      tell(new Set(), false);
    },
  });
}

export function stopFleet() {
  stream?.close();
  stream = null;
  fleet.rows.clear();
}

function take(data) {
  if (data.all) fleet.rows.clear();
  for (const row of data.sessions) fleet.rows.set(row.session, row);
  for (const name of data.gone) fleet.rows.delete(name);
  fleet.complete = data.complete;
  tell(new Set([...data.sessions.map((row) => row.session), ...data.gone]), data.all);
}

function tell(changed, all) {
  for (const listener of listeners) listener(changed, all);
}

export const needing = () => [...fleet.rows.values()].filter((row) => row.needs).sort((a, b) => b.changed_at - a.changed_at);
