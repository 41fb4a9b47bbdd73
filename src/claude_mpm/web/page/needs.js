// What needs a person, and only that: permissions first, then what failed, stands still or waits.
import { get } from "./api.js";
import { empty, h, note, pill, replace } from "./dom.js";
import { waitingElsewhere, watchElsewhere } from "./elsewhere.js";
import { fleet, needing, onFleet } from "./fleet.js";
import { permissionCard } from "./tools.js";
import { age, clock, exact, oneLine } from "./text.js";

const DISMISSED = "claude-mpm-dismissed";
const ORDER = ["permission", "stalled", "budget", "failed", "limit"];
const WORDS = { failed: "Failed", stalled: "Stands still", budget: "Over budget", limit: "Waits for the rate limit" };

export function dismissed() {
  try {
    return new Set(JSON.parse(localStorage.getItem(DISMISSED) ?? "[]"));
  } catch {
    return new Set();
  }
}

// A failure that was looked at is none any more, until the session changes again.
const mark = (row) => `${row.session} ${row.needs} ${row.turns} ${Math.floor(row.changed_at)}`;

export const urgent = () => {
  const gone = dismissed();
  return needing().filter((row) => !gone.has(mark(row)));
};

export function needsView(main, { readOnly }) {
  const requests = h("div", { class: "cards" });
  const others = h("div", { class: "cards" });
  const elsewhere = h("div", { class: "cards" });
  const none = h("div");
  const cards = new Map();
  replace(main, h("div", { class: "page narrow" }, h("h1", {}, "Needs me"), none, requests, others, elsewhere));

  let asks = 0;
  const readRequests = async () => {
    asks += 1;
    const own = asks;
    if (!urgent().some((row) => row.permission_requests)) return showRequests([]);
    const found = await get("permission-requests").catch((problem) => note(problem.message, "error"));
    if (found && own === asks) showRequests(found.permission_requests);
  };
  const showRequests = (waiting) => {
    const names = new Set(waiting.map((asked) => `${asked.session} ${asked.request}`));
    for (const [name, card] of cards) {
      if (names.has(name)) continue;
      cards.delete(name);
      if (!card.classList.contains("over")) card.querySelector(".answered").textContent = "Answered elsewhere, or no longer asked.";
      card.classList.add("over");
      setTimeout(() => {
        card.remove();
        draw();
      }, 3000);
    }
    for (const asked of waiting) {
      const name = `${asked.session} ${asked.request}`;
      if (cards.has(name)) continue;
      const card = permissionCard(asked, { link: whose(asked.session, asked.asked_at), readOnly });
      cards.set(name, card);
      requests.append(card);
    }
    draw();
  };
  const draw = () => {
    const rows = urgent().filter((row) => row.needs !== "permission" || !row.permission_requests);
    rows.sort((a, b) => ORDER.indexOf(a.needs) - ORDER.indexOf(b.needs));
    replace(others, rows.map((row) => card(row, draw)));
    const all = fleet.complete ? empty("Nothing needs you.", "Permission requests, failures and limits appear here as they come.") : h("p", { class: "loading" }, "Reading the sessions…");
    replace(none, rows.length || requests.childElementCount || elsewhere.childElementCount ? [] : [all]);
  };
  draw();
  readRequests();
  const leaveElsewhere = watchElsewhere((known) => {
    replace(elsewhere, known.sessions.filter((row) => row.permission_requests).map(waitingElsewhere));
    draw();
  });
  const leaveFleet = onFleet((changed) => {
    draw();
    if (changed.size) readRequests();
  });
  return () => {
    leaveElsewhere();
    leaveFleet();
  };
}

function whose(session, at) {
  const row = fleet.rows.get(session);
  return h("p", { class: "whose" }, h("a", { href: `#/session/${encodeURIComponent(session)}` }, exact(oneLine(row?.prompt, 70) || session)), " ", h("span", { class: "dim" }, exact(row ? `${row.environment} · ${row.cwd}` : ""), at ? ` · ${age(at)} ago` : ""));
}

function card(row, draw) {
  const dismiss = () => {
    localStorage.setItem(DISMISSED, JSON.stringify([...dismissed(), mark(row)].slice(-500)));
    draw();
    document.dispatchEvent(new Event("urgent"));
  };
  return h("section", { class: `need ${row.needs}`, "aria-label": WORDS[row.needs] ?? row.needs },
    h("header", {}, h("h2", {}, WORDS[row.needs] ?? "Waits at its screen"), pill(row.state)),
    h("p", {}, exact(row.reason), row.until ? ` Until ${clock(row.until)}.` : ""),
    whose(row.session, row.changed_at),
    row.needs === "permission" ? null : h("button", { type: "button", onclick: dismiss }, "I have seen it"));
}
