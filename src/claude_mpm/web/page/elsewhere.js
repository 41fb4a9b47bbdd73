// Sessions that other machines have started in the named places: what is known of them, and since when.
import { get } from "./api.js";
import { h, pill, replace } from "./dom.js";
import { age, exact, money, oneLine } from "./text.js";

const COLUMNS = ["Session", "State", "Place", "Project", "Cost", "Tickets", "Known"];
const INTERVAL = 15000; // milliseconds
const SOON = 2500; // while the places are being asked

// Asks at once, and then every INTERVAL; the function that it returns ends that.
export function watchElsewhere(listener, refused = () => {}) {
  let timer = 0;
  let left = false;
  const ask = async () => {
    let next = INTERVAL;
    try {
      const known = await get("elsewhere");
      if (left) return;
      if (known.looking) next = SOON;
      listener(known);
    } catch (problem) {
      if (left) return;
      refused(problem);
    }
    timer = setTimeout(ask, next);
  };
  ask();
  return () => {
    left = true;
    clearTimeout(timer);
  };
}

export function elsewhereSection(place) {
  return watchElsewhere((known) => draw(place, known), (problem) => replace(place, h("p", { class: "elsewhere-problem", role: "status" }, `Other machines: ${problem.message}`)));
}

// What waits for an answer there: it is answered by the command, which follows the session from here.
export function waitingElsewhere(row) {
  return h("section", { class: "need permission", "aria-label": "Waits in another place" },
    h("header", {}, h("h2", {}, exact(`Waits in ${row.place}`)), pill(row.state)),
    h("p", {}, exact(oneLine(row.prompt, 70) || row.session), " ", h("span", { class: "dim" }, exact(row.cwd), ` · seen ${age(row.seen_at)} ago`)),
    row.refusal ? h("p", {}, exact(row.refusal)) : h("p", {}, h("code", {}, exact(attachCommand(row)))));
}

function attachCommand(row) {
  return `claude-mpm attach --on ${row.place} ${row.session.slice(0, 8)}`;
}

function draw(place, known) {
  place.hidden = !known.places.length;
  if (place.hidden) return;
  const silent = known.places.filter((each) => each.reason).map((each) => h("p", { class: "elsewhere-problem" }, exact(`${each.place} does not answer: ${oneLine(each.reason, 200)}; ${each.seen_at ? `what is listed of it is ${age(each.seen_at)} old` : "nothing is known of it"}`)));
  const more = known.places.filter((each) => each.more).map((each) => h("p", {}, exact(`${each.place}: ${each.more} older sessions are not listed`)));
  const rows = known.sessions.map(rowNode);
  const table = h("table", { class: "rows", id: "elsewhere" }, h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows));
  replace(place, h("h2", {}, "Other machines"), silent, more, rows.length ? table : h("p", {}, known.looking ? "Asking the places…" : "No other machine has a session in the named places."));
}

function rowNode(row) {
  const cell = (label, ...content) => h("td", { "data-label": label }, content);
  const how = row.refusal || attachCommand(row);
  return h("tr", { class: row.permission_requests ? "needs" : "", title: how },
    h("th", { scope: "row" }, exact(oneLine(row.prompt, 80) || row.session), h("small", {}, exact(row.session.slice(0, 12)))),
    cell("State", pill(row.state)),
    cell("Place", exact(row.place)),
    h("td", { "data-label": "Project", class: "path", title: row.cwd }, h("bdi", {}, exact(row.cwd))),
    h("td", { "data-label": "Cost", class: "number" }, row.cost_usd === null ? "" : money(row.cost_usd)),
    h("td", { "data-label": "Tickets", class: "number" }, row.tickets ? String(row.tickets) : ""),
    h("td", { "data-label": "Known", class: "number" }, age(row.seen_at)));
}
