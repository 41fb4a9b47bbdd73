// Batches: how far each has come, and the outcome of each task.
import { get } from "./api.js";
import { empty, h, note, pill, replace } from "./dom.js";
import { onFleet } from "./fleet.js";
import { age, duration, exact, money, oneLine } from "./text.js";

const AGAIN = 5000; // ms after which a batch is read again, though no session has told of anything

export function batchesView(main, name) {
  const read = name ? () => readOne(decodeURIComponent(name)) : readAll;
  let timer = null;
  let closed = false;
  const again = async () => {
    clearTimeout(timer);
    try {
      const content = await read();
      if (!closed) show(main, content);
    } catch (problem) {
      if (closed) return;
      if (problem.status === 404) return replace(main, empty("There is no such batch.", problem.message));
      note(problem.message, "error");
    }
    if (!closed) timer = setTimeout(() => (document.hidden ? null : again()), AGAIN);
  };
  replace(main, h("p", { class: "loading" }, "Reading the batches…"));
  again();
  const unsubscribe = onFleet((changed) => {
    if (!changed.size) return;
    clearTimeout(timer);
    timer = setTimeout(again, 300);
  });
  return () => {
    closed = true;
    clearTimeout(timer);
    unsubscribe();
  };
}

async function readAll() {
  const { batches } = await get("batches");
  const cards = batches.map((batch) => card(batch, h("a", { href: `#/batches/${encodeURIComponent(batch.name)}` }, exact(batch.name))));
  const none = empty("There is no batch yet.", "claude-mpm batch run TASKS begins one; it appears here.");
  return h("div", { class: "page" }, h("h1", {}, "Batches"), h("div", { class: "cards" }, cards.length ? cards : none));
}

function card(batch, title) {
  const counts = Object.entries(batch.counts).map(([state, count]) => pill(state, `${count} ${state}`));
  const cost = batch.budget_usd ? `${money(batch.cost_usd)} of ${money(batch.budget_usd)}` : money(batch.cost_usd);
  return h("section", { class: "batch", "aria-label": `Batch ${batch.name}` },
    h("header", {}, h("h2", {}, title), pill(batch.state), h("span", { class: "dim" }, `${batch.places.join(", ")} · ${cost} · ${age(batch.created_at)} ago`)),
    h("progress", { max: Math.max(1, batch.tasks), value: batch.ended, "aria-label": `${batch.ended} of ${batch.tasks} tasks have ended` }),
    h("div", {}, `${batch.ended} of ${batch.tasks} `, counts),
    batch.halted && batch.state !== "done" ? h("p", {}, "Left: ", exact(batch.halted)) : null);
}

async function readOne(name) {
  const { batch, tasks } = await get(`batches/${encodeURIComponent(name)}`);
  const head = h("tr", {}, ["Task", "State", "Place", "Outcome", "Cost", "Took"].map((each) => h("th", { scope: "col" }, each)));
  const body = h("tbody", {}, tasks.map(row));
  return h("div", { class: "page" }, h("h1", {}, h("a", { href: "#/batches" }, "Batches"), " · ", exact(batch.name)), card(batch, exact("Progress")),
    h("table", { class: "rows tasks" }, h("thead", {}, head), body));
}

function row(task) {
  const title = exact(oneLine(task.prompt, 80) || task.id);
  const where = task.session ? h("a", { href: `#/session/${encodeURIComponent(task.session)}` }, title) : h("span", {}, title);
  const result = [task.reason, task.check === null ? "" : `check: ${task.check}`, task.branch ? `branch ${task.branch}` : "", task.attempts > 1 ? `${task.attempts} attempts` : ""].filter(Boolean).join(" · ");
  return h("tr", {}, h("th", { scope: "row" }, where, h("small", {}, exact(task.id))),
    h("td", { "data-label": "State" }, pill(task.state)), h("td", { "data-label": "Place" }, exact(task.place)),
    h("td", { "data-label": "Result", class: "reason" }, exact(result)),
    h("td", { "data-label": "Cost", class: "number" }, money(task.cost_usd)),
    h("td", { "data-label": "Took", class: "number" }, task.seconds === null ? "" : duration(task.seconds)));
}

// Drawn again, without taking the focus from a link that is still there.
function show(main, content) {
  const focused = document.activeElement?.getAttribute?.("href");
  const top = main.scrollTop;
  replace(main, content);
  main.scrollTop = top;
  if (focused && main.querySelector(`a[href="${CSS.escape(focused)}"]`)) main.querySelector(`a[href="${CSS.escape(focused)}"]`).focus();
}
