// Who is let in, which view is shown, and the keys.
import { batchesView } from "./batches.js";
import { get, login } from "./api.js";
import { empty, h, note, replace } from "./dom.js";
import { fleet, onFleet, startFleet } from "./fleet.js";
import { needsView, urgent } from "./needs.js";
import { sessionView } from "./session.js";
import { prepareRows, sessionsView } from "./sessions.js";
import { ticketsView } from "./tickets.js";

const main = document.getElementById("main");
const VIEWS = [["needs", "Needs me"], ["sessions", "All sessions"], ["tickets", "Tickets"], ["batches", "Batches"]];
let leave = () => {};
let me = null;

// --- the way in -----------------------------------------------------------------------------------

async function enter() {
  const [, code, view] = /^#([0-9a-f]{64})(\/.*)?$/.exec(location.hash) ?? [];
  if (code) {
    history.replaceState(null, "", view ? `/#${view}` : "/");
    try {
      await login(code);
    } catch (problem) {
      note(problem.message, "error");
    }
  }
  try {
    me = await get("whoami");
  } catch (problem) {
    return shut(problem);
  }
  startFleet(shut);
  onFleet(tell);
  const prepare = () => {
    if (!fleet.complete) return;
    prepared();
    if (window.requestIdleCallback) requestIdleCallback(prepareRows); // not every browser has it
  };
  const prepared = onFleet(prepare);
  addEventListener("hashchange", show);
  document.addEventListener("urgent", tell);
  show();
}

function shut(problem) {
  leave();
  leave = () => {};
  const words = problem.status === 401 ? "This browser is not let in. In a terminal, claude-mpm web link prints a link that lets it in, once." : problem.message;
  replace(main, empty("The page is shut.", words));
  setTitle("shut");
}

// --- views ------------------------------------------------------------------------------------------

function show() {
  leave();
  const [, view = "", name = "", offset = ""] = location.hash.split("/");
  const how = { readOnly: me.role === "read" };
  const open = { sessions: () => sessionsView(main, how), tickets: () => ticketsView(main, how), batches: () => batchesView(main, name), session: () => openSession(name, offset, how) };
  leave = (open[view] ?? (() => needsView(main, how)))() ?? (() => {});
  navigation(view in open ? view : "needs");
  setTitle(view === "session" ? decodeURIComponent(name).slice(0, 12) : (VIEWS.find(([each]) => each === view)?.[1] ?? "Needs me"));
  main.scrollTop = 0;
}

function openSession(name, offset, how) {
  return sessionView(main, decodeURIComponent(name), { ...how, offset: /^\d+$/.test(offset) ? Number(offset) : null });
}

let titled = "";
function setTitle(text) {
  titled = text;
  const count = me ? urgent().length : 0;
  document.title = `${count ? `(${count}) ` : ""}${text} · claude-mpm`;
}

function navigation(current) {
  replace(document.getElementById("views"), VIEWS.map(([view, text]) => h("a", { href: `#/${view}`, "aria-current": view === current ? "page" : null }, text, view === "needs" ? h("span", { class: "count", id: "count", hidden: true }) : null)));
  tell();
}

function tell() {
  const state = document.getElementById("link-state");
  const words = { live: "live", lost: "reconnecting…", connecting: "connecting…", refused: "shut" }[fleet.state];
  state.className = `link-state ${fleet.state}`;
  if (state.textContent !== words) state.textContent = words;
  const count = document.getElementById("count");
  const number = urgent().length;
  if (count) {
    count.hidden = !number;
    count.textContent = String(number);
    count.setAttribute("aria-label", `, ${number} waiting`);
  }
  setTitle(titled);
}

// --- theme and keys -----------------------------------------------------------------------------------

const THEME = "claude-mpm-theme";
function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}
setTheme(localStorage.getItem(THEME));
document.getElementById("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const next = dark ? "light" : "dark";
  localStorage.setItem(THEME, next);
  setTheme(next);
});
document.getElementById("skip").addEventListener("click", () => main.focus());
document.getElementById("help").addEventListener("click", () => document.getElementById("shortcuts").showModal());

const KEYS = {
  n: () => (location.hash = "#/needs"),
  s: () => (location.hash = "#/sessions"),
  t: () => (location.hash = "#/tickets"),
  b: () => (location.hash = "#/batches"),
  "/": () => document.getElementById("search")?.focus(),
  p: () => document.getElementById("prompt")?.focus(),
  e: () => document.querySelector(".latest")?.click(),
  j: () => step(1),
  k: () => step(-1),
  "?": () => document.getElementById("shortcuts").showModal(),
};

document.addEventListener("keydown", (event) => {
  const field = event.target.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, dialog");
  if (event.key === "Escape" && field) event.target.blur();
  if (field || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

function step(by) {
  const items = [...main.querySelectorAll(".rows tbody a, .cards a, .tickets a")];
  const now = items.indexOf(document.activeElement);
  items[Math.min(items.length - 1, Math.max(0, now + by))]?.focus();
}

enter();
