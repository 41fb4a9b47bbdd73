// One session: its conversation as it comes, what it found, and what can be done to it.
import { at, get, post, Stream } from "./api.js";
import { Conversation } from "./conversation.js";
import { empty, h, note, pill, replace } from "./dom.js";
import { fleet, onFleet } from "./fleet.js";
import { permissionCard } from "./tools.js";
import { clock, exact, money, oneLine } from "./text.js";

const NEAR = 600; // pixels from an end of the conversation at which more is read

export function sessionView(main, name, { readOnly, offset }) {
  const view = new SessionView(main, name, readOnly);
  view.open(offset);
  return () => view.close();
}

class SessionView {
  constructor(main, name, readOnly) {
    this.main = main;
    this.name = name;
    this.readOnly = readOnly;
    this.stream = null;
    this.busy = null; // while what is loaded changes: a promise of its end
    this.sticks = true;
    this.top = 0;
    this.detail = null;
    this.conversation = new Conversation(name, { changed: () => this.refreshSoon() });
    this.unsubscribe = onFleet((changed) => changed.has(name) && this.refreshSoon());
    this.paused = null; // where the stream goes on once the page is looked at again
    this.onVisible = () => (document.hidden ? this.pause() : this.paused !== null && this.follow(this.paused));
    document.addEventListener("visibilitychange", this.onVisible);
  }

  async open(offset) {
    replace(this.main, h("p", { class: "loading" }, "Reading the session…"));
    try {
      await this.refresh();
    } catch (problem) {
      if (!this.closed) replace(this.main, empty(problem.status === 404 ? "There is no such session." : "This session cannot be read.", problem.message));
      return;
    }
    if (this.closed) return; // another view is shown by now
    this.build();
    if (offset === null) await this.toEnd();
    else await this.jump(offset);
  }

  close() {
    this.stream?.close();
    this.unsubscribe();
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.onVisible);
    this.closed = true;
  }

  // --- what is shown beside the conversation ----------------------------------------------------

  refreshSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh().catch((problem) => note(problem.message, "error")), 120);
  }

  async refresh() {
    const [detail, given] = await Promise.all([get(at(this.name)), get(at(this.name, "/prompts"))]);
    if (this.closed) return;
    this.detail = detail;
    this.conversation.wire = detail.wire;
    this.conversation.setPrompts(given.prompts);
    this.conversation.setTurns(detail.turns);
    if (this.head) this.fill();
  }

  build() {
    this.head = h("header", { class: "session-head" });
    this.facts = h("aside", { class: "facts", "aria-label": "About this session" });
    this.requests = h("div", { class: "requests" });
    this.pane = h("div", { class: "pane", tabindex: "0", "aria-label": "Conversation, scrolls" }, this.conversation.root);
    this.latest = h("button", { type: "button", class: "latest", hidden: true, onclick: () => this.toEnd() }, "↓ To the end");
    new ResizeObserver(() => this.sticks && this.isWhereItWas() && this.toBottom()).observe(this.conversation.root);
    this.pane.addEventListener("scroll", () => this.onScroll(), { passive: true });
    const column = h("div", { class: "column" }, this.pane, this.latest, this.requests, this.promptForm());
    replace(this.main, h("div", { class: "session" }, this.head, column, this.facts));
    this.fill();
  }

  fill() {
    const { row } = this.detail;
    const known = fleet.rows.get(this.name) ?? row;
    const runs = !["ended", "lost", "damaged"].includes(known.state);
    const works = ["working", "waiting for an answer"].includes(known.state);
    const wide = matchMedia("(min-width: 60rem)").matches;
    const act = (text, path, kind, shown) => (shown && !this.readOnly ? h("button", { type: "button", class: kind, onclick: (event) => this.act(event.target, path) }, text) : null);
    this.hint.textContent = runs ? "" : `This session ${known.state === "lost" ? "was lost" : "has ended"}; a prompt starts Claude again and goes on with it.`;
    this.fillRequests();
    this.fillFacts(wide);
    // What is the same stays as it is, and with it the focus.
    const mark = JSON.stringify([known.state, known.needs, known.reason, row.prompt, row.cost_usd, row.turns]);
    if (this.headMark === mark) return;
    this.headMark = mark;
    replace(this.head,
      h("div", { class: "title" }, h("h1", {}, exact(oneLine(row.prompt, 90) || row.session)), pill(known.state), known.needs && known.needs !== "permission" ? h("span", { class: "reason" }, exact(known.reason)) : null),
      h("div", { class: "meta" }, h("code", {}, exact(row.session)), h("span", {}, exact(row.environment)), h("span", { class: "path", title: row.cwd }, h("bdi", {}, exact(row.cwd))), h("span", {}, `${money(row.cost_usd)} in ${row.turns} ${row.turns === 1 ? "turn" : "turns"}`)),
      h("div", { class: "actions" }, act("Interrupt", "/interrupt", "", works), act("Stop", "/stop", "danger", runs),
        h("label", { class: "toggle" }, h("input", { type: "checkbox", checked: this.conversation.root.classList.contains("as-written"), onchange: (event) => this.conversation.root.classList.toggle("as-written", event.target.checked) }), "As written")));
  }

  fillFacts(wide) {
    const { turns, tickets, delegations, undelivered, stderr } = this.detail;
    const mark = JSON.stringify([turns.length, tickets, delegations, undelivered, stderr]);
    if (this.factsMark === mark) return;
    this.factsMark = mark;
    const open = this.facts.querySelector("details.all")?.open ?? wide;
    replace(this.facts, h("details", { class: "all", open }, h("summary", {}, "Turns, tickets, delegations"), this.lists()));
  }

  fillRequests() {
    const waiting = this.detail.permission_requests;
    const names = new Set(waiting.map((asked) => asked.request));
    for (const card of this.requests.children) {
      if (names.has(card.dataset.request)) names.delete(card.dataset.request);
      else if (!card.classList.contains("over")) this.overtaken(card);
      else if (card.dataset.leaves === undefined) {
        card.dataset.leaves = "soon";
        setTimeout(() => card.remove(), 4000);
      }
    }
    for (const asked of waiting) if (names.has(asked.request)) this.requests.append(permissionCard(asked, { readOnly: this.readOnly, done: () => this.refreshSoon() }));
    if (this.sticks) this.toBottom();
  }

  overtaken(card) {
    // Answered elsewhere, or no longer asked: whoever answers now is told who won.
    card.classList.add("over");
    card.querySelector(".answered").textContent = "This was answered elsewhere, or Claude no longer asks.";
    for (const button of card.querySelectorAll("button")) button.disabled = true;
  }

  lists() {
    const { turns, tickets, delegations, undelivered, stderr, options } = this.detail;
    const jump = (offset, ...content) => h("button", { type: "button", class: "jump", onclick: () => this.jump(offset) }, content);
    const part = (title, items, none) => h("section", {}, h("h2", {}, title), items.length ? h("ul", {}, items.map((each) => h("li", {}, each))) : h("p", { class: "dim" }, none));
    const newest = turns.slice(-200).reverse();
    return [
      part(`Turns (${turns.length})`, newest.map((turn) => jump(turn.offset, pill(turn.outcome), h("span", {}, money(turn.cost_usd)), h("span", { class: "dim" }, clock(turn.ended_at)))), "None has ended."),
      part(`Tickets (${tickets.length})`, tickets.map((ticket) => jump(ticket.offset, pill(ticket.state), h("span", {}, exact(`${ticket.type}: ${oneLine(ticket.title, 90)}`)))), "None was named."),
      part(`Delegations (${delegations.length})`, delegations.map((each) => jump(each.offset, pill(each.state), h("span", {}, exact(`${each.agent || "subagent"}: ${oneLine(each.description || each.prompt, 90)}`)))), "Nothing was handed to a subagent."),
      undelivered.length ? part("Never delivered", undelivered.map((text) => exact(oneLine(text, 200))), "") : null,
      stderr ? h("section", {}, h("h2", {}, "Standard error"), h("pre", { tabindex: "0" }, exact(stderr))) : null,
      h("details", {}, h("summary", { class: "dim" }, "Started with"), h("pre", { tabindex: "0" }, exact(JSON.stringify(options, null, 1)))),
    ];
  }

  // --- what is done to it -----------------------------------------------------------------------

  promptForm() {
    this.hint = h("p", { class: "hint", id: "prompt-hint" });
    if (this.readOnly) return h("p", { class: "hint" }, "You may look, and change nothing.");
    const text = h("textarea", { rows: "2", id: "prompt", "aria-label": "Prompt", "aria-describedby": "prompt-hint", placeholder: "What Claude is to do" });
    const typed = h("input", { type: "checkbox" });
    const send = h("button", { type: "submit", class: "primary" }, "Send");
    const form = h("form", { class: "prompt-form" }, this.hint, text,
      h("div", { class: "prompt-row" }, h("label", { class: "toggle" }, typed, "Take /command and @file as typed"), send));
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (!text.value.trim() || send.disabled) return;
      send.disabled = true;
      send.textContent = "Sending…";
      try {
        await post(at(this.name, "/prompts"), { text: text.value, command: typed.checked });
        text.value = "";
        this.sticks = true;
      } catch (problem) {
        note(problem.message, "error");
      } finally {
        send.disabled = false;
        send.textContent = "Send";
      }
    });
    return form;
  }

  async act(button, path) {
    button.disabled = true;
    try {
      note((await post(at(this.name, path))).message);
    } catch (problem) {
      note(problem.message, "error");
    }
    button.disabled = false;
    this.refreshSoon();
  }

  // --- where in it one is -----------------------------------------------------------------------

  async toEnd() {
    await this.alone(async () => {
      this.follow(null);
      const since = await this.conversation.loadEnd();
      if (!this.conversation.root.childElementCount && this.conversation.begin === 0) {
        this.conversation.root.append(h("p", { class: "line" }, "Nothing was said yet."));
      }
      this.sticks = true;
      this.toBottom();
      this.follow(String(since));
    });
  }

  async jump(offset) {
    await this.alone(async () => {
      this.follow(null);
      this.sticks = false;
      const since = await this.conversation.loadAround(offset);
      const wanted = this.nodeAt(offset);
      wanted?.scrollIntoView({ block: "center" });
      for (const before of document.querySelectorAll(".flash")) before.classList.remove("flash");
      wanted?.classList.add("flash");
      if (this.conversation.reachesEnd) this.follow(String(since));
    });
    this.onScroll();
  }

  nodeAt(offset) {
    const exactly = this.conversation.root.querySelector(`[data-offset="${offset}"], [data-result="${offset}"]`);
    for (let each = exactly?.parentElement; each && each !== this.pane; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    return exactly ?? [...this.conversation.root.children].find((node) => Number(node.dataset.offset) >= offset);
  }

  // Browsers have few connections for one server: a page that nobody looks at holds none of them here.
  pause() {
    this.paused = this.stream ? this.stream.id : this.paused;
    this.stream?.close();
    this.stream = null;
  }

  // Follows the journal from a place on; null for no more, as where the end is not in the page.
  follow(id) {
    this.stream?.close();
    this.stream = null;
    this.paused = id;
    if (id === null || this.closed || document.hidden) return;
    this.stream = new Stream(at(this.name, "/event-stream"), {
      id,
      on: (kind, data) => this.heard(kind, data),
      state: (state, problem) => state === "refused" && note(problem.message, "error"),
    });
  }

  heard(kind, data) {
    if (kind === "reset") this.toEnd();
    else if (kind === "problem") note(data.message, "error");
    else if (kind === "events") {
      this.conversation.take(data);
      if (this.sticks) {
        this.conversation.trim(true);
        this.toBottom();
      } else if (this.conversation.isFull) {
        this.follow(null);
        this.conversation.letGoOfEnd();
      }
    }
  }

  toBottom() {
    this.pane.scrollTop = this.pane.scrollHeight;
    this.top = this.pane.scrollTop;
  }

  // Whether nobody has scrolled since; the event that tells of it may still be on its way.
  isWhereItWas() {
    return Math.abs(this.pane.scrollTop - this.top) < 2;
  }

  onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.pane;
    const left = scrollHeight - scrollTop - clientHeight;
    this.top = scrollTop;
    this.sticks = left < 60 && this.conversation.reachesEnd;
    this.latest.hidden = this.sticks || left < NEAR;
    if (scrollTop < NEAR && this.conversation.begin > 0) this.more(true);
    else if (left < NEAR && !this.conversation.reachesEnd) this.more(false);
  }

  async more(before) {
    // Else this and onScroll would call each other for ever, and nothing else had a turn.
    if (this.busy || this.closed) return;
    const isDone = await this.alone(async () => {
      const { pane, conversation } = this;
      if (before) {
        const below = pane.scrollHeight - pane.scrollTop;
        await conversation.loadBefore();
        pane.scrollTop = pane.scrollHeight - below;
        if (!conversation.reachesEnd) this.follow(null);
      } else {
        const since = await conversation.loadAfter();
        if (conversation.reachesEnd) this.follow(String(since));
      }
    });
    if (isDone) this.onScroll(); // it may be near an end again, and no event would tell
  }

  // One at a time changes what is loaded; who comes meanwhile waits. Whether it was done is returned.
  async alone(does) {
    while (this.busy) await this.busy;
    if (this.closed) return false;
    let done;
    this.busy = new Promise((resolve) => { done = resolve; });
    try {
      await does();
      return true;
    } catch (problem) {
      note(problem.message, "error");
      return false;
    } finally {
      this.busy = null;
      done();
    }
  }
}
