// All sessions: a table that stays quick with a thousand rows, since only what changed is drawn again.
import { empty, h, pill, replace } from "./dom.js";
import { elsewhereSection } from "./elsewhere.js";
import { fleet, onFleet } from "./fleet.js";
import { age, exact, money, oneLine } from "./text.js";

const COLUMNS = ["Session", "State", "Place", "Project", "Today", "Cost", "Turns", "Tickets", "Changed"];
const ORDERS = {
  "Changed last": (a, b) => b.changed_at - a.changed_at,
  "Started last": (a, b) => b.created_at - a.created_at,
  "Costs most": (a, b) => b.cost_usd - a.cost_usd,
  "By project": (a, b) => a.cwd.localeCompare(b.cwd) || b.changed_at - a.changed_at,
};
const SHOWN = {
  all: () => true,
  running: (row) => !["ended", "lost", "damaged"].includes(row.state),
  "at work": (row) => row.state === "working" || row.state === "starting",
  "needs me": (row) => row.needs !== "",
  ended: (row) => ["ended", "lost", "damaged"].includes(row.state),
};
const kept = { search: "", shown: "all", order: "Changed last" };
const AT_ONCE = 120; // rows that are drawn before anything else; no screen has more
const MORE = 1000; // in each frame after that
const drawn = new Map(); // session: {row, node}, also between two visits

export function sessionsView(main) {
  const search = h("input", { type: "search", id: "search", value: kept.search, placeholder: "Search: name, project, place, prompt", "aria-label": "Search sessions" });
  const shown = select("Show", Object.keys(SHOWN), "shown", () => draw());
  const order = select("Order", Object.keys(ORDERS), "order", () => draw());
  const sum = h("p", { class: "sum", role: "status" });
  const body = h("tbody");
  const table = h("table", { class: "rows all" }, h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name)))), body);
  const place = h("div", { class: "table-place" }, table);
  const others = h("section", { class: "table-place", hidden: true });
  search.addEventListener("input", () => {
    kept.search = search.value;
    draw();
  });
  replace(main, h("div", { class: "page" }, h("h1", {}, "All sessions"), h("div", { class: "tools" }, search, shown, order, sum), place, others));
  const leaveOthers = elsewhereSection(others);

  let most = AT_ONCE;
  const draw = () => {
    const words = kept.search.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...fleet.rows.values()].filter((row) => SHOWN[kept.shown](row) && matches(row, words)).sort(ORDERS[kept.order]);
    arrange(body, rows.slice(0, most).map((row) => nodeOf(row)));
    if (rows.length > most) {
      most += MORE;
      drawSoon();
    }
    const today = rows.reduce((total, row) => total + row.cost_today_usd, 0);
    const all = rows.reduce((total, row) => total + row.cost_usd, 0);
    sum.textContent = `${rows.length.toLocaleString()} of ${fleet.rows.size.toLocaleString()} sessions · ${money(today)} today · ${money(all)} in all`;
    place.querySelector(".empty")?.remove();
    table.hidden = !rows.length;
    if (!rows.length) place.append(nothing());
  };
  let waits = false;
  const drawSoon = () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      const focused = document.activeElement?.getAttribute?.("href");
      draw();
      if (focused && document.activeElement === document.body) body.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
    });
  };
  const tellAges = () => {
    for (const { row, node } of drawn.values()) node.lastElementChild.textContent = age(row.changed_at);
  };
  tellAges();
  draw();
  const ages = setInterval(tellAges, 30000);
  const unsubscribe = onFleet((changed, all) => {
    for (const name of changed) if (!fleet.rows.has(name)) drawn.delete(name);
    if (changed.size || all) drawSoon();
  });
  return () => {
    clearInterval(ages);
    leaveOthers();
    unsubscribe();
  };
}

function nodeOf(row) {
  const known = drawn.get(row.session);
  if (known?.row === row) return known.node;
  known?.node.remove();
  const node = rowNode(row);
  drawn.set(row.session, { row, node });
  return node;
}

// Makes the rows while the page has nothing else to do, so that they are there when they are looked at.
export function prepareRows(idle) {
  for (const row of fleet.rows.values()) {
    if (idle.timeRemaining() < 2) {
      requestIdleCallback(prepareRows);
      return;
    }
    if (!drawn.has(row.session)) nodeOf(row);
  }
}

// Moves as few rows as it can: to lay out a thousand again takes longer than to read them.
function arrange(body, nodes) {
  const wanted = new Set(nodes);
  for (const node of [...body.children]) if (!wanted.has(node)) node.remove();
  let next = body.firstChild;
  for (const node of nodes) {
    if (node === next) next = next.nextSibling;
    else body.insertBefore(node, next);
  }
}

function nothing() {
  if (!fleet.complete) return h("p", { class: "empty loading" }, "Reading the sessions…");
  if (fleet.rows.size) return empty("Nothing matches.", "Search for less, or show all.");
  return empty("There is no session yet.", "claude-mpm run “…” starts one; it appears here at once.");
}

function select(label, names, name, changed) {
  const node = h("select", { "aria-label": label, onchange: (event) => {
    kept[name] = event.target.value;
    changed();
  } }, names.map((each) => h("option", { value: each, selected: each === kept[name] }, each)));
  return node;
}

function matches(row, words) {
  if (!words.length) return true;
  const text = `${row.session} ${row.cwd} ${row.environment} ${row.orchestrator} ${row.prompt} ${row.state} ${row.outcome}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

// One row to copy: a thousand that are each made of their parts take twice as long.
const number = (label) => h("td", { "data-label": label, class: "number" });
const SHAPE = h("tr", {},
  h("th", { scope: "row" }, h("a"), h("small")),
  h("td", { "data-label": "State" }), h("td", { "data-label": "Place" }), h("td", { "data-label": "Project", class: "path" }, h("bdi")),
  ["Today", "Cost", "Turns", "Tickets", "Changed"].map(number));

function rowNode(row) {
  const node = SHAPE.cloneNode(true);
  const [name, state, place, project, today, cost, turns, tickets, changed] = node.children;
  if (row.needs) node.className = "needs";
  name.firstChild.href = `#/session/${encodeURIComponent(row.session)}`;
  name.firstChild.append(...exact(oneLine(row.prompt, 80) || row.session));
  name.lastChild.append(...exact(row.prompt ? row.session.slice(0, 12) : "without a prompt"));
  state.append(pill(row.state));
  if (row.needs && row.needs !== "permission") state.append(pill(row.needs));
  place.append(...exact(row.environment));
  project.title = row.cwd;
  project.firstChild.append(...exact(row.cwd));
  today.textContent = money(row.cost_today_usd);
  cost.textContent = money(row.cost_usd);
  turns.textContent = row.turns;
  tickets.textContent = row.tickets || "";
  changed.textContent = age(row.changed_at);
  return node;
}
