// A window onto a journal: some lines of it as a conversation, more on either side on demand.
import { at, get, key } from "./api.js";
import { h, note } from "./dom.js";
import { resultView, toolCard } from "./tools.js";
import { duration, exact, markdown, money, oneLine } from "./text.js";

const PAGE = 200; // lines that are asked for at once
const MOST = 1500; // parts of the conversation that are kept in the page
const MOST_LIVE_MARKDOWN = 20000; // characters, from which on a text in the making stays as written

export class Conversation {
  constructor(session, { changed }) {
    this.session = session;
    this.changed = changed; // called where more than the text has changed
    this.root = h("div", { class: "conversation", role: "log", "aria-live": "off", "aria-label": "Conversation" });
    this.forget();
    this.prompts = new Map();
    this.turns = new Map();
    this.wire = "stream-json";
  }

  forget() {
    this.begin = this.end = this.size = 0;
    this.tools = new Map();
    this.lost = new Map(); // results and subagents whose tool is further up
    this.live = new Map();
    this.root.replaceChildren();
  }

  // --- more of it -------------------------------------------------------------------------------

  async loadEnd() {
    const since = this.start(await this.fetch(""));
    this.size = this.end; // behind it is at most a line that is not whole yet
    return since;
  }

  async loadAround(offset) {
    const after = await this.fetch(`&since=${offset}`);
    const since = this.start(after);
    await this.loadBefore();
    return since;
  }

  async loadBefore() {
    if (this.begin === 0) return;
    const part = await this.fetch(`&before=${this.begin}`);
    this.put(part.events, true);
    this.begin = part.begin;
    this.trim(false);
  }

  async loadAfter() {
    const part = await this.fetch(`&since=${this.end}`);
    this.put(part.events, false);
    this.size = part.end === this.end ? part.end : part.size; // as in loadEnd
    this.end = part.end;
    this.trim(true);
    return part.stream_since;
  }

  get reachesEnd() {
    return this.end >= this.size;
  }

  get isFull() {
    return this.root.childElementCount > 2 * MOST;
  }

  // More has come than is kept while somebody reads further up; what is below is read again then.
  letGoOfEnd() {
    this.size = this.end + 1;
  }

  fetch(where) {
    return get(at(this.session, `/events?pieces=no&limit=${PAGE}${where}`));
  }

  start(part) {
    this.forget();
    this.begin = part.begin;
    this.end = part.end;
    this.size = part.size;
    this.put(part.events, false);
    return part.stream_since;
  }

  // Takes what the stream brings. What is shown already only ends what was in the making.
  take(events) {
    for (const event of events) {
      if (event.kind === "stream_event") this.piece(event);
      else if (event.kind === "assistant" || event.kind === "result") this.endPiece(speaker(event));
    }
    const fresh = events.filter((event) => event.end > this.end && event.kind !== "stream_event");
    this.put(fresh, false);
    const last = events.at(-1);
    if (last && last.end > this.end) this.end = last.end;
    this.size = Math.max(this.size, this.end);
    if (fresh.some((event) => ["result", "control_request", "control_cancel_request", "command_lifecycle"].includes(event.kind))) this.changed();
  }

  trim(fromTop) {
    const surplus = this.root.childElementCount - MOST;
    if (surplus <= 0) return;
    if (!fromTop) this.endPiece(""); // it stands at the end, which goes
    for (let n = 0; n < surplus + 200; n += 1) (fromTop ? this.root.firstElementChild : this.root.lastElementChild).remove();
    if (fromTop) this.begin = Number(this.root.firstElementChild.dataset.offset);
    else this.end = Number(this.root.lastElementChild.dataset.end);
    for (const [id, card] of this.tools) if (!card.node.isConnected) this.tools.delete(id);
  }

  // --- what is said in pieces -------------------------------------------------------------------

  piece(event) {
    const { event: said, parent_tool_use_id: parent } = event.data;
    if (parent) return;
    if (said.type === "content_block_start") this.beginPiece(said.content_block ?? {});
    else if (said.type === "content_block_delta") this.morePiece(said.delta ?? {});
    else if (said.type === "message_start" || said.type === "message_stop") this.endPiece("");
  }

  beginPiece(block) {
    this.endPiece("");
    const words = block.type === "thinking" ? "Thinking…" : block.type === "tool_use" ? `Calling ${oneLine(block.name, 60)}…` : "";
    const body = h("div", { class: words ? "dim" : "markdown" }, words);
    const node = h("article", { class: "said live", "aria-label": "Claude, at work" }, body);
    this.live.set("", { node, body, text: "", isText: !words, waits: false });
    this.root.append(node);
  }

  morePiece(delta) {
    const live = this.live.get("");
    if (!live?.isText || typeof delta.text !== "string") return;
    const first = live.text === "";
    live.text += delta.text;
    if (first) live.body.textContent = live.text; // at once: it is what a person waits for
    if (live.waits) return;
    live.waits = true;
    requestAnimationFrame(() => {
      live.waits = false;
      if (live.text.length > MOST_LIVE_MARKDOWN || this.root.classList.contains("as-written")) live.body.textContent = live.text;
      else live.body.replaceChildren(...markdown(live.text).childNodes);
    });
  }

  endPiece(parent) {
    this.live.get(parent)?.node.remove();
    this.live.delete(parent);
  }

  // --- lines become parts of the page -----------------------------------------------------------

  put(events, inFront) {
    const batch = { top: [], nested: new Map() };
    for (const event of events) {
      for (const node of this.render(event)) {
        node.dataset.offset = event.offset;
        node.dataset.end = event.end;
        const parent = speaker(event);
        if (!parent) batch.top.push(node);
        else batch.nested.set(parent, [...(batch.nested.get(parent) ?? []), node]);
      }
    }
    const live = this.live.get("")?.node;
    if (inFront) this.root.prepend(...batch.top);
    else if (live) live.before(...batch.top);
    else this.root.append(...batch.top);
    for (const [parent, nodes] of batch.nested) this.nest(parent, nodes, inFront);
  }

  nest(parent, nodes, inFront) {
    const card = this.tools.get(parent);
    const box = card ? card.nest() : this.strayBox(parent, nodes[0], inFront);
    const known = new Set([...box.children].map((node) => node.dataset.offset));
    const fresh = nodes.filter((node) => !known.has(node.dataset.offset));
    if (inFront) box.prepend(...fresh);
    else box.append(...fresh);
  }

  strayBox(parent, first, inFront) {
    const found = this.lost.get(parent);
    if (found?.isConnected) return found;
    const box = h("div", { class: "nested stray", role: "group", "aria-label": "A subagent", "data-offset": first.dataset.offset, "data-end": first.dataset.end });
    this.lost.set(parent, box);
    if (inFront) this.root.prepend(box);
    else this.root.append(box);
    return box;
  }

  render(event) {
    if (event.cut) return [this.cutLine(event)];
    switch (event.kind) {
      case "assistant":
        return contentOf(event.data).flatMap((block) => this.said(block, event));
      case "user":
        return contentOf(event.data).flatMap((block) => this.heard(block, event));
      case "result":
        return [this.turnEnd(event)];
      case "command_lifecycle":
        return event.data.state === "started" ? [this.prompt(event.data.command_uuid)] : [];
      case "control_request":
        return event.data.request?.subtype === "can_use_tool" ? [line("asked", ["Asked to use ", exact(String(event.data.request.tool_name))])] : [];
      case "system":
        return this.system(event.data);
      case "text":
        return [h("article", { class: "said plain" }, event.data.text)];
      case "not-json":
        return [h("details", { class: "raw" }, h("summary", {}, "A line that is no JSON"), h("pre", { tabindex: "0" }, exact(event.data.text)))];
      default:
        return [];
    }
  }

  said(block, event) {
    if (block.type === "text" && block.text) {
      const who = event.data.subagent_type ? `Subagent ${event.data.subagent_type}` : "Claude";
      return [textPart(block.text, who)];
    }
    if (block.type === "thinking" && block.thinking) {
      return [h("details", { class: "thinking" }, h("summary", {}, "Thinking"), h("div", { class: "plain" }, block.thinking))];
    }
    return block.type === "tool_use" ? [this.tool(block)] : [];
  }

  tool(block) {
    const card = toolCard(block);
    this.tools.set(block.id, card);
    const stray = this.lost.get(`result ${block.id}`);
    if (stray) {
      card.give(stray.block);
      stray.node.remove();
    }
    const box = this.lost.get(block.id);
    if (box?.isConnected) {
      card.nest().append(...box.children);
      box.remove();
    }
    return card.node;
  }

  heard(block, event) {
    if (block.type === "tool_result") {
      const card = this.tools.get(block.tool_use_id);
      if (card) {
        card.give(block);
        return [];
      }
      const node = h("details", { class: "tool" }, h("summary", {}, h("span", { class: "tool-name" }, "Result")), resultView(block));
      this.lost.set(`result ${block.tool_use_id}`, { block, node });
      return [node];
    }
    if (block.type !== "text" || !block.text || event.data.isReplay) return [];
    if (this.wire === "transcript" && !event.data.parent_tool_use_id) return [promptPart(block.text)];
    return [h("details", { class: "thinking" }, h("summary", {}, event.data.parent_tool_use_id ? "What the subagent was told" : "A note of Claude Code’s"), h("div", { class: "plain" }, block.text))];
  }

  system(data) {
    if (data.subtype === "api_retry") return [line("warn", `The API refused; attempt ${data.attempt ?? "?"} of ${data.max_retries ?? "?"}`)];
    if (data.subtype === "compact_boundary") return [line("", "Claude Code made the conversation shorter here")];
    return [];
  }

  prompt(uuid) {
    const node = promptPart(this.prompts.get(uuid) ?? "…");
    node.dataset.prompt = uuid;
    return node;
  }

  setPrompts(prompts) {
    this.prompts = new Map(prompts.map((each) => [each.uuid, each.text]));
    for (const node of this.root.querySelectorAll("[data-prompt]")) {
      const text = this.prompts.get(node.dataset.prompt);
      if (text !== undefined) node.querySelector(".plain").textContent = text;
    }
  }

  turnEnd(event) {
    const node = h("details", { class: "turn-end", "data-result": event.offset }, h("summary", {}, "Turn ended"), h("ul", {}));
    const error = event.data.is_error ? oneLine(event.data.result ?? (event.data.errors ?? []).join("; "), 2000) : "";
    if (error) node.append(h("p", { class: "error-text" }, error));
    this.fillTurn(node);
    return node;
  }

  setTurns(turns) {
    this.turns = new Map(turns.map((turn) => [turn.offset, turn]));
    for (const node of this.root.querySelectorAll("[data-result]")) this.fillTurn(node);
  }

  fillTurn(node) {
    const turn = this.turns.get(Number(node.dataset.result));
    if (!turn) return;
    const reason = turn.reason ? `: ${turn.reason}` : "";
    node.className = `turn-end ${turn.outcome.replaceAll(" ", "-")}`;
    node.querySelector("summary").replaceChildren(h("span", { class: "outcome" }, turn.outcome), oneLine(`${reason} · ${money(turn.cost_usd)} · ${duration(turn.duration)}`, 300));
    node.querySelector("ul").replaceChildren(...turn.evidence.map((each) => h("li", {}, exact(each))));
  }

  cutLine(event) {
    const size = event.end - event.offset;
    const save = h("button", { type: "button", class: "quiet", onclick: () => this.save(event) }, "Save the whole line");
    return h("details", { class: "raw" }, h("summary", {}, `A line of ${size.toLocaleString()} bytes (${event.kind})`), h("pre", { tabindex: "0" }, exact(event.data.text)), save);
  }

  async save(event) {
    const answer = await fetch(`/api/${at(this.session, `/journal?begin=${event.offset}&end=${event.end}`)}`, { headers: { "X-Claude-MPM": key() } });
    if (!answer.ok) return note("The line cannot be read any more.", "error");
    const url = URL.createObjectURL(await answer.blob());
    h("a", { href: url, download: `${this.session}-${event.offset}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
}

const speaker = (event) => event.data?.parent_tool_use_id ?? "";

function contentOf(data) {
  const content = data.message?.content ?? "";
  if (typeof content === "string") return content ? [{ type: "text", text: content }] : [];
  return content;
}

function line(kind, content) {
  return h("p", { class: `line ${kind}` }, content);
}

function textPart(text, who) {
  const node = h("article", { class: "said", "aria-label": who }, markdown(text), h("div", { class: "written plain" }, text));
  return node;
}

function promptPart(text) {
  return h("article", { class: "prompt", "aria-label": "Prompt" }, h("div", { class: "plain" }, text));
}
