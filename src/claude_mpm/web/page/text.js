// How outside text is shown: what could deceive made visible, Markdown as nodes, numbers for people.
import { h } from "./dom.js";

// As claude_mpm.printable: what steers, has no width, or turns the direction of writing.
const DECEIVING = new RegExp(
  "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xa0\\xad\\u034f\\u061c\\u115f\\u1160\\u1680\\u17b4\\u17b5\\u180b-\\u180f" +
    "\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u2800\\u3000\\u3164\\ufe00-\\ufe0d\\ufeff\\uffa0" +
    "\\ufff0-\\ufffb\\ud800-\\udfff\\u{13430}-\\u{1343f}\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}" +
    "\\u{e0000}-\\u{e0fff}]|[ \\t]{40,}", // so many blanks would push what follows out of sight
  "gu",
);

export function exact(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(DECEIVING)) {
    if (found.index > at) parts.push(text.slice(at, found.index));
    const code = found[0].codePointAt(0);
    const shown = found[0].length > 2 ? `<${found[0].length} blanks>` : code < 0xa0 ? `\\x${code.toString(16).padStart(2, "0")}` : `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
    parts.push(h("span", { class: "hidden-sign" }, shown));
    at = found.index + found[0].length;
  }
  parts.push(text.slice(at));
  return parts;
}

export function oneLine(text, most = 200) {
  const line = String(text ?? "").slice(0, 4 * most).replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

// --- numbers ------------------------------------------------------------------------------------

export function money(dollars) {
  if (!dollars) return "$0";
  return dollars < 0.01 ? `$${dollars.toFixed(4)}` : `$${dollars.toFixed(2)}`;
}

export function age(seconds) {
  const passed = Math.max(0, Date.now() / 1000 - seconds);
  if (passed < 60) return `${Math.floor(passed)} s`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min`;
  if (passed < 86400) return `${Math.floor(passed / 3600)} h`;
  return `${Math.floor(passed / 86400)} d`;
}

export function clock(seconds) {
  if (!seconds) return "";
  const at = new Date(seconds * 1000);
  const today = at.toDateString() === new Date().toDateString();
  return today ? at.toLocaleTimeString() : at.toLocaleString();
}

export function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

// --- Markdown -----------------------------------------------------------------------------------

export function markdown(text) {
  const root = h("div", { class: "markdown" });
  blocks(text.split("\n"), root, 0);
  return root;
}

const ITEM = /^( {0,8})([-*+]|\d{1,9}[.)])( +|$)/;
const DEEPEST = 6;

function blocks(lines, into, depth) {
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = /^ {0,3}(`{3,}|~{3,})/.exec(line);
    if (!line.trim()) at += 1;
    else if (fence) at = fenced(lines, at, fence[1], into);
    else if (/^#{1,6} /.test(line)) at = heading(lines, at, into);
    else if (/^ {0,3}([-*_])( *\1){2,} *$/.test(line)) {
      into.append(h("hr"));
      at += 1;
    } else if (/^ {0,3}>/.test(line) && depth < DEEPEST) at = quoted(lines, at, into, depth);
    else if (ITEM.test(line) && depth < DEEPEST) at = list(lines, at, into, depth);
    else if (isTable(lines, at)) at = table(lines, at, into);
    else at = paragraph(lines, at, into, depth);
  }
}

function fenced(lines, begin, sign, into) {
  const word = lines[begin].trim().slice(sign.length).trim();
  let end = begin + 1;
  while (end < lines.length && !isFenceEnd(lines[end], sign)) end += 1;
  into.append(codeBlock(lines.slice(begin + 1, end).join("\n"), word));
  return end + 1;
}

function isFenceEnd(line, sign) {
  const text = line.trim();
  return text.length >= sign.length && text === sign[0].repeat(text.length);
}

export function codeBlock(code, language = "") {
  const copy = h("button", { class: "quiet copy", type: "button", onclick: () => navigator.clipboard.writeText(code) }, "Copy");
  const head = h("div", { class: "code-head" }, h("span", {}, oneLine(language, 30)), copy);
  return h("div", { class: "code" }, head, h("pre", { tabindex: "0" }, h("code", {}, code)));
}

function heading(lines, at, into) {
  const [, signs, text] = /^(#{1,6}) +(.*)$/.exec(lines[at]) ?? [null, "#", lines[at].replace(/^#+/, "")];
  // The page's own headings are above these.
  into.append(h(`h${Math.min(6, signs.length + 2)}`, {}, inline(text.trim())));
  return at + 1;
}

function quoted(lines, begin, into, depth) {
  let end = begin;
  while (end < lines.length && /^ {0,3}>/.test(lines[end])) end += 1;
  const quote = h("blockquote");
  blocks(lines.slice(begin, end).map((line) => line.replace(/^ {0,3}> ?/, "")), quote, depth + 1);
  into.append(quote);
  return end;
}

function list(lines, begin, into, depth) {
  const first = ITEM.exec(lines[begin]);
  const ordered = /\d/.test(first[2]);
  const node = h(ordered ? "ol" : "ul", ordered ? { start: parseInt(first[2], 10) } : {});
  let at = begin;
  while (at < lines.length) {
    const found = ITEM.exec(lines[at]);
    if (!found || found[1].length !== first[1].length || /\d/.test(found[2]) !== ordered) break;
    const width = found[0].length;
    const inner = [lines[at].slice(width)];
    at += 1;
    while (at < lines.length && (belongs(lines[at], width) || (!lines[at].trim() && belongs(lines[at + 1] ?? "", width)))) {
      inner.push(lines[at].slice(Math.min(width, lines[at].search(/\S|$/))));
      at += 1;
    }
    const item = h("li");
    if (inner.length === 1) item.append(...inline(inner[0]));
    else blocks(inner, item, depth + 1);
    node.append(item);
    while (at + 1 < lines.length && !lines[at].trim() && ITEM.test(lines[at + 1])) at += 1;
  }
  into.append(node);
  return at;
}

function belongs(line, width) {
  return line.trim() !== "" && line.search(/\S/) >= Math.min(width, 2);
}

function isTable(lines, at) {
  return lines[at].includes("|") && /^[ |:-]+$/.test(lines[at + 1] ?? "") && lines[at + 1].includes("-") && lines[at + 1].includes("|");
}

function table(lines, begin, into) {
  let end = begin + 2;
  while (end < lines.length && lines[end].includes("|")) end += 1;
  const cells = (line) => line.trim().replace(/^\|/, "").replace(/\|$/, "").split("|").map((cell) => inline(cell.trim()));
  const head = h("thead", {}, h("tr", {}, cells(lines[begin]).map((cell) => h("th", {}, cell))));
  const body = h("tbody", {}, lines.slice(begin + 2, end).map((line) => h("tr", {}, cells(line).map((cell) => h("td", {}, cell)))));
  into.append(h("div", { class: "table-box", tabindex: "0" }, h("table", {}, head, body)));
  return end;
}

function paragraph(lines, begin, into, depth) {
  let end = begin + 1;
  const stops = (line) => !line.trim() || /^( {0,3}(`{3}|~{3}|>)|#{1,6} )/.test(line) || (ITEM.test(line) && depth < DEEPEST);
  while (end < lines.length && !stops(lines[end]) && !isTable(lines, end)) end += 1;
  into.append(h("p", {}, inline(lines.slice(begin, end).join("\n"))));
  return end;
}

// One pass from left to right; a sign without its partner is itself.
export function inline(text, depth = 0) {
  const out = [];
  let plain = "";
  let at = 0;
  const put = (node) => {
    if (plain) out.push(plain);
    plain = "";
    out.push(node);
  };
  while (at < text.length) {
    const found = depth < DEEPEST ? span(text, at, depth) : null;
    if (found) {
      put(found.node);
      at = found.end;
    } else {
      plain += text[at];
      at += 1;
    }
  }
  if (plain) out.push(plain);
  return out;
}

const LONGEST_SPAN = 2000;

function span(text, at, depth) {
  const sign = text[at];
  if (sign === "\\" && /[\\`*_{}[\]()#+.!|~>-]/.test(text[at + 1] ?? "")) return { node: text[at + 1], end: at + 2 };
  if (sign === "`") return between(text, at, "`", (inner) => h("code", {}, inner));
  if (text.startsWith("**", at)) return between(text, at, "**", (inner) => h("strong", {}, inline(inner, depth + 1)));
  if (text.startsWith("~~", at)) return between(text, at, "~~", (inner) => h("del", {}, inline(inner, depth + 1)));
  if ((sign === "*" || sign === "_") && /\S/.test(text[at + 1] ?? "") && !/\w/.test(text[at - 1] ?? "")) {
    return between(text, at, sign, (inner) => h("em", {}, inline(inner, depth + 1)));
  }
  if (sign === "[") return link(text, at, depth);
  if (sign === "h" && !/\w/.test(text[at - 1] ?? "")) return address(text, at);
  return null;
}

function between(text, at, sign, make) {
  const end = text.slice(0, at + LONGEST_SPAN).indexOf(sign, at + sign.length);
  const inner = text.slice(at + sign.length, end);
  if (end < 0 || !inner.trim() || (sign !== "`" && /\s$/.test(inner))) return null;
  if (sign === "_" && /\w/.test(text[end + 1] ?? "")) return null;
  return { node: make(inner), end: end + sign.length };
}

function link(text, at, depth) {
  const found = /^\[([^\]\n]{1,500})\]\((https?:\/\/[^\s)]{1,1000})\)/.exec(text.slice(at, at + 1600));
  return found ? { node: anchor(found[2], inline(found[1], depth + 1)), end: at + found[0].length } : null;
}

function address(text, at) {
  const found = /^https?:\/\/[^\s<>"'`]{1,1000}/.exec(text.slice(at, at + 1100));
  if (!found) return null;
  const url = found[0].replace(/[.,;:!?)\]}]+$/, "");
  return { node: anchor(url, [url]), end: at + url.length };
}

function anchor(url, content) {
  // Where it leads is shown, for what it says may be another thing.
  return h("a", { href: url, title: url, target: "_blank", rel: "noopener noreferrer nofollow" }, content);
}
