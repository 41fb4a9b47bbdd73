// What was named in all sessions: filter, close, export, jump to where it was said.
import { at, get, post } from "./api.js";
import { empty, h, note, pill, replace } from "./dom.js";
import { fleet, onFleet } from "./fleet.js";
import { exact, oneLine } from "./text.js";

const kept = { search: "", state: "open", type: "" };

export function ticketsView(main, { readOnly }) {
  let tickets = [];
  const search = h("input", { type: "search", id: "search", value: kept.search, placeholder: "Search tickets", "aria-label": "Search tickets", oninput: (event) => {
    kept.search = event.target.value;
    draw();
  } });
  const state = h("select", { "aria-label": "State", onchange: (event) => {
    kept.state = event.target.value;
    draw();
  } }, ["open", "closed", "all"].map((each) => h("option", { value: each, selected: each === kept.state }, each)));
  const type = h("select", { "aria-label": "Type", onchange: (event) => {
    kept.type = event.target.value;
    draw();
  } });
  const form = h("select", { "aria-label": "Export as" }, ["csv", "json", "markdown"].map((each) => h("option", {}, each)));
  const save = h("button", { type: "button", onclick: () => exportAs(form.value, chosen()) }, "Export");
  const list = h("ul", { class: "tickets" });
  const sum = h("p", { class: "sum", role: "status" });
  replace(main, h("div", { class: "page" }, h("h1", {}, "Tickets"), h("div", { class: "tools" }, search, state, type, form, save, sum), list));

  const chosen = () => {
    const words = kept.search.toLowerCase().split(/\s+/).filter(Boolean);
    return tickets.filter((each) => (kept.state === "all" || each.state === kept.state) && (!kept.type || each.type === kept.type) && words.every((word) => `${each.title} ${each.description} ${each.type} ${each.key} ${each.session} ${fleet.rows.get(each.session)?.cwd ?? ""}`.toLowerCase().includes(word)));
  };
  const set = async (ticket, wanted) => {
    try {
      await post(at(ticket.session, `/tickets/${encodeURIComponent(ticket.key)}`), { state: wanted });
      ticket.state = wanted;
      draw();
    } catch (problem) {
      note(problem.message, "error");
    }
  };
  const draw = () => {
    const types = [...new Set(tickets.map((each) => each.type))].sort();
    replace(type, h("option", { value: "" }, "every type"), types.map((each) => h("option", { value: each, selected: each === kept.type }, each)));
    const found = chosen();
    sum.textContent = `${found.length} of ${tickets.length} tickets`;
    replace(list, found.slice(0, 1000).map((ticket) => ticketNode(ticket, set, readOnly)));
    if (!found.length) list.append(h("li", { class: "bare" }, tickets.length ? empty("Nothing matches.", "Show closed ones too, or search for less.") : empty("No ticket was named.", "Work that Claude names with a marker such as TODO: or BUG: appears here.")));
  };
  const read = async () => {
    try {
      tickets = (await get("tickets")).tickets.reverse();
      draw();
    } catch (problem) {
      note(problem.message, "error");
    }
  };
  replace(list, h("li", { class: "bare loading" }, "Reading the tickets…"));
  read();
  let timer = null;
  return onFleet((changed) => {
    if (!changed.size) return;
    clearTimeout(timer);
    timer = setTimeout(read, 300);
  });
}

function ticketNode(ticket, set, readOnly) {
  const row = fleet.rows.get(ticket.session);
  const other = ticket.state === "open" ? "closed" : "open";
  return h("li", { class: `ticket ${ticket.state}` },
    h("div", { class: "ticket-head" }, pill(ticket.type), ticket.priority ? pill(`priority-${ticket.priority}`, ticket.priority) : null, h("strong", {}, exact(ticket.title))),
    ticket.description ? h("p", { class: "plain" }, exact(ticket.description.slice(0, 2000))) : null,
    h("p", { class: "ticket-foot" },
      h("code", {}, ticket.key.slice(0, 12)), " ",
      h("a", { href: `#/session/${encodeURIComponent(ticket.session)}/${ticket.offset}` }, "Where it was said"), " ",
      h("span", { class: "dim" }, exact(oneLine(`${ticket.agent ? `${ticket.agent} · ` : ""}${row?.cwd ?? ticket.session}`, 90))),
      readOnly ? null : h("button", { type: "button", class: "quiet", onclick: () => set(ticket, other) }, other === "closed" ? "Close" : "Open again")));
}

// --- export ------------------------------------------------------------------------------------------

const FIELDS = ["key", "state", "type", "priority", "title", "description", "agent", "session", "offset"];

function exportAs(form, tickets) {
  const text = form === "json" ? `${JSON.stringify(tickets, null, 2)}\n` : form === "csv" ? csv(tickets) : table(tickets);
  const kind = { csv: "text/csv", json: "application/json", markdown: "text/markdown" }[form];
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  h("a", { href: url, download: `tickets.${form === "markdown" ? "md" : form}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function csv(tickets) {
  const cell = (value) => {
    const text = String(value ?? "");
    // A spreadsheet must not take what Claude said for a formula.
    const safe = /^\s*[=+\-@＝＋－＠]/.test(text) || /^\s/.test(text) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  };
  return [FIELDS.join(","), ...tickets.map((each) => FIELDS.map((name) => (typeof each[name] === "number" ? each[name] : cell(each[name]))).join(","))].join("\r\n") + "\r\n";
}

function table(tickets) {
  const cell = (value) => oneLine(value, 500).replaceAll("\\", "\\\\").replaceAll("|", "\\|").replaceAll("<", "&lt;");
  const names = ["key", "state", "type", "priority", "title", "session"];
  return [names, names.map(() => "---"), ...tickets.map((each) => names.map((name) => cell(each[name])))].map((line) => `| ${line.join(" | ")} |\n`).join("");
}
