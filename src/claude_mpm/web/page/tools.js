// What a tool gets and the outcome: folded, edits as diffs, and the request for a permission.
import { at, post } from "./api.js";
import { h, note } from "./dom.js";
import { exact, oneLine } from "./text.js";

const TELLING = ["command", "file_path", "path", "pattern", "url", "query", "description", "prompt"];
const MOST_DIFFED = 600; // lines of both sides; more are shown one after the other
const MOST_SHOWN = 20000; // characters of a result, before it is asked for whole

export function telling(input) {
  const name = TELLING.find((each) => input?.[each]);
  return name ? oneLine(typeof input[name] === "string" ? input[name] : JSON.stringify(input[name]), 160) : "";
}

export function inputView(tool, input) {
  const given = { ...(input ?? {}) };
  const parts = [];
  if (typeof given.old_string === "string" && typeof given.new_string === "string") {
    parts.push(field("file_path", given.file_path), diff(given.old_string, given.new_string));
    drop(given, "file_path", "old_string", "new_string");
    if (given.replace_all === false) drop(given, "replace_all");
  } else if (Array.isArray(given.edits)) {
    parts.push(field("file_path", given.file_path));
    parts.push(...given.edits.map((edit) => diff(String(edit?.old_string ?? ""), String(edit?.new_string ?? ""))));
    drop(given, "file_path", "edits");
  } else if (tool === "Write" && typeof given.content === "string") {
    parts.push(field("file_path", given.file_path), diff("", given.content));
    drop(given, "file_path", "content");
  }
  const names = Object.keys(given).sort((a, b) => rank(a) - rank(b));
  parts.push(...names.map((name) => field(name, given[name])));
  return h("div", { class: "input" }, parts.length ? parts : h("p", { class: "dim" }, "It gets nothing."));
}

const rank = (name) => (TELLING.includes(name) ? TELLING.indexOf(name) : TELLING.length);

function drop(given, ...names) {
  for (const name of names) delete given[name];
}

function field(name, value) {
  if (value === undefined) return null;
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const long = text.includes("\n") || text.length > 80;
  return h("div", { class: long ? "field long" : "field" }, h("span", { class: "field-name" }, exact(name)),
    long ? h("pre", { tabindex: "0" }, exact(text)) : h("code", {}, exact(text)));
}

// --- diffs --------------------------------------------------------------------------------------

export function diff(before, after) {
  const lines = changes(before === "" ? [] : before.split("\n"), after === "" ? [] : after.split("\n"));
  const rows = lines.map(([sign, text]) =>
    h("span", { class: sign === "+" ? "added" : sign === "-" ? "removed" : "same" }, `${sign} `, exact(text), "\n"));
  const count = (sign) => lines.filter(([each]) => each === sign).length;
  return h("div", { class: "diff" },
    h("div", { class: "diff-head" }, h("span", { class: "plus" }, `+${count("+")}`), " ", h("span", { class: "minus" }, `−${count("-")}`)),
    h("pre", { tabindex: "0" }, rows));
}

function changes(before, after) {
  if (before.length + after.length > MOST_DIFFED) {
    return [...before.map((line) => ["-", line]), ...after.map((line) => ["+", line])];
  }
  const table = common(before, after);
  const out = [];
  let a = 0;
  let b = 0;
  while (a < before.length || b < after.length) {
    if (a < before.length && b < after.length && before[a] === after[b]) {
      out.push([" ", before[a]]);
      a += 1;
      b += 1;
    } else if (b >= after.length || (a < before.length && table[a + 1][b] >= table[a][b + 1])) {
      out.push(["-", before[a]]);
      a += 1;
    } else {
      out.push(["+", after[b]]);
      b += 1;
    }
  }
  return out;
}

// How long the longest common part is of what begins at each pair of lines.
function common(before, after) {
  const table = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  for (let a = before.length - 1; a >= 0; a -= 1) {
    for (let b = after.length - 1; b >= 0; b -= 1) {
      table[a][b] = before[a] === after[b] ? table[a + 1][b + 1] + 1 : Math.max(table[a + 1][b], table[a][b + 1]);
    }
  }
  return table;
}

// --- a tool's use -------------------------------------------------------------------------------

export function toolCard(use) {
  const state = h("span", { class: "tool-state" }, "running");
  const result = h("div", { class: "result" });
  const nested = h("div", { class: "nested", role: "group", "aria-label": "What the subagent did", hidden: true });
  let filled = false;
  const body = h("div", { class: "tool-body" });
  const card = h("details", { class: "tool", "data-tool": use.id ?? "" },
    h("summary", {}, h("span", { class: "tool-name" }, exact(use.name ?? "tool")), " ",
      h("span", { class: "tool-what" }, exact(telling(use.input))), state),
    body);
  // What is folded is made when it is looked at: most of it never is.
  const fill = () => {
    if (filled || !card.open) return;
    filled = true;
    body.append(inputView(use.name, use.input), nested, result);
  };
  card.addEventListener("toggle", fill);
  const give = (block) => {
    state.textContent = block.is_error ? "failed" : "done";
    state.className = `tool-state ${block.is_error ? "failed" : "done"}`;
    result.replaceChildren(resultView(block));
  };
  const nest = () => {
    nested.hidden = false;
    const works = state.textContent === "running";
    if (works && !card.classList.contains("has-nested")) card.open = true;
    card.classList.add("has-nested");
    return nested;
  };
  return { node: card, give, nest };
}

export function resultView(block) {
  const text = resultText(block.content);
  if (!text) return h("p", { class: "dim" }, "No output.");
  if (text.length <= MOST_SHOWN) return h("pre", { tabindex: "0" }, text);
  const pre = h("pre", { tabindex: "0" }, text.slice(0, MOST_SHOWN));
  const more = h("button", {
    type: "button", class: "quiet",
    onclick: () => {
      pre.textContent = text;
      more.remove();
    },
  }, `Show all ${text.length.toLocaleString()} characters`);
  return h("div", {}, pre, more);
}

function resultText(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return content === undefined || content === null ? "" : JSON.stringify(content, null, 2);
  return content.map((part) => (typeof part?.text === "string" ? part.text : `[${part?.type ?? "something"}]`)).join("\n");
}

// --- permission requests ------------------------------------------------------------------------

export function permissionCard(asked, { link = null, readOnly = false, done = () => {} } = {}) {
  const status = h("p", { class: "answered", role: "status" });
  const why = h("input", { type: "text", "aria-label": "What Claude is told", placeholder: "Why not, for Claude to read (optional)" });
  const chosen = asked.choices.map((choice, number) => choiceView(asked, choice, number));
  const title = asked.choices.length ? "Claude asks you to choose" : ["Claude wants to use ", h("strong", {}, exact(asked.tool))];
  const buttons = [];
  const send = async (body) => {
    for (const button of buttons) button.disabled = true;
    try {
      const kept = await post(at(asked.session, `/permission-requests/${encodeURIComponent(asked.request)}`), body);
      status.textContent = `${kept.decision === "allow" ? "Allowed" : "Denied"} by you.`;
      card.classList.add("over");
      done(asked);
    } catch (problem) {
      status.textContent = problem.message;
      if (problem.status === 409) card.classList.add("over");
      else for (const button of buttons) button.disabled = false;
      note(problem.message, "error");
    }
  };
  const allow = () => {
    if (!chosen.length) return send({ decision: "allow" });
    const choices = chosen.map((each) => each.value());
    return choices.every(Boolean) ? send({ decision: "allow", choices }) : note("Choose something for each question.", "error");
  };
  const deny = (interrupt) => send({ decision: "deny", message: why.value, interrupt });
  buttons.push(
    h("button", { type: "button", class: "primary", onclick: allow }, asked.choices.length ? "Answer" : "Allow once"),
    h("button", { type: "button", class: "danger", onclick: () => deny(false) }, "Deny"),
    h("button", { type: "button", onclick: () => deny(true) }, "Deny and end the turn"));
  const card = h("section", { class: "permission", "aria-label": `Permission request: ${asked.tool}`, "data-request": asked.request },
    h("header", {}, h("h3", {}, title), link),
    asked.description && !Object.values(asked.input).some((value) => String(value).includes(asked.description)) ? h("p", { class: "words" }, "Claude’s words: ", exact(asked.description)) : null,
    chosen.length ? chosen.map((each) => each.node) : inputView(asked.tool, asked.input),
    readOnly ? h("p", { class: "dim" }, "You may look, and not answer.") : h("div", { class: "answer" }, buttons, why),
    status);
  return card;
}

function choiceView(asked, choice, number) {
  const name = `choice-${asked.request}-${number}`;
  const own = h("input", { type: "text", "aria-label": "Your own words", placeholder: "Or in your own words" });
  const inputs = (Array.isArray(choice.options) ? choice.options : []).map((option) => {
    const input = h("input", { type: choice.multiSelect ? "checkbox" : "radio", name, value: String(option?.label ?? "") });
    return { input, node: h("label", {}, input, h("span", {}, exact(String(option?.label ?? "")), option?.description ? h("small", {}, exact(String(option.description))) : null)) };
  });
  const node = h("fieldset", {}, h("legend", {}, exact(String(choice.question ?? ""))), inputs.map((each) => each.node), own);
  const value = () => own.value.trim() || inputs.filter((each) => each.input.checked).map((each) => each.input.value).join(", ");
  return { node, value };
}
