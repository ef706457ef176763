// One task: state, progress, output, value or traceback.

import { icon, make, onPress, say, show } from "./dom.js";
import { FINAL, ICONS, WAITING, duration, joined, shortId } from "./kinds.js";
import { Pace } from "./pace.js";
import { Terminal, paintText } from "./terminal.js";

// What is known of a task; fed by the kernel's messages, drawn by any number of cards.
export class Task {
  card = null;
  output = "";
  // why it waits, as the kernel said last
  reason = "";
  pace = new Pace();
  #received = 0;

  // Returns false when something is missing in between.
  take(message) {
    if (message.type === "why") this.reason = message.text;
    return message.type !== "task" || this.#takeTask(message);
  }

  #takeTask({ card, start, text }) {
    if (start > this.output.length) return false;
    this.output = start ? this.output + text : text;
    this.card = card;
    this.#received = performance.now() / 1000;
    if (card.current !== null) this.pace.note(card.current, card.total, this.#received, card.elapsed);
    return true;
  }

  get waits() {
    return WAITING.has(this.card?.kind);
  }

  get final() {
    return FINAL.has(this.card?.kind);
  }

  // seconds until now; they go on here while it is not finished
  get elapsed() {
    const { elapsed } = this.card;
    return elapsed === null || this.final ? elapsed : elapsed + performance.now() / 1000 - this.#received;
  }
}

export class Card {
  #parts;
  #terminal;
  #written = "";

  constructor(element, { onCancel, onClose }) {
    this.#parts = build(onCancel, onClose);
    this.#terminal = new Terminal(this.#parts.output);
    element.append(this.#parts.root);
  }

  // `title` goes before the name; `gone`: there is no kernel any more.
  draw(task, { title = "", gone = false } = {}) {
    const parts = this.#parts;
    const { card } = task;
    if (!card) return;
    parts.root.classList.toggle("nbq-gone", gone && !task.final);
    chip(parts.chip, card.kind, card.state);
    say(parts.name, joined([title, card.name], " "));
    say(parts.id, shortId(card.id));
    parts.id.title = card.id;
    this.#tick(task, gone);
    show(parts.cancel, !task.final && !gone);
    parts.cancel.setAttribute("aria-label", `Cancel ${card.name} ${shortId(card.id)}`);
    this.#drawOutput(task.output);
    section(parts.value, card.value);
    section(parts.traceback, card.traceback);
    show(parts.error, Boolean(card.error) && !card.traceback);
    say(parts.error, card.error);
    show(parts.reason, task.waits && Boolean(task.reason) && !gone);
    say(parts.reason, task.reason);
  }

  // What changes with time alone.
  tick(task, gone = false) {
    if (task.card) this.#tick(task, gone);
  }

  #tick(task, gone) {
    const { card, waits } = task;
    const parts = this.#parts;
    const since = task.elapsed === null ? "" : `${waits ? "for " : ""}${duration(task.elapsed)}`;
    const place = waits ? card.queue && card.queue !== "default" && `queue ${card.queue}` : card.worker;
    const retries = card.retries ? (card.retries > 1 ? `${card.retries} retries` : "1 retry") : "";
    say(parts.notes, gone && !task.final ? "the kernel is gone" : joined([place, retries, since]));
    const progress = card.current !== null;
    show(parts.meter, progress);
    if (!progress) return;
    const share = card.total ? Math.min(1, card.current / card.total) : task.final ? 1 : 0;
    parts.fill.style.transform = `scaleX(${share})`;
    parts.fill.dataset.kind = card.kind;
    parts.track.setAttribute("aria-valuenow", String(Math.round(share * 100)));
    say(parts.pace, joined([card.description, task.pace.text(performance.now() / 1000, task.final || gone)]));
  }

  #drawOutput(output) {
    show(this.#parts.output, output !== "");
    if (output === this.#written) return;
    if (!output.startsWith(this.#written)) {
      this.#terminal.clear();
      this.#written = "";
    }
    this.#terminal.write(output.slice(this.#written.length));
    // a card that is made anew must not be lower for a frame than the one before it
    if (!this.#written) this.#terminal.paint();
    this.#written = output;
  }
}

// Icon, colour and word for a state.
export function chip(element, kind, word) {
  if (element.dataset.kind !== kind) {
    element.dataset.kind = kind;
    element.replaceChildren(icon(ICONS[kind]), make("span"));
  }
  say(element.lastChild, word);
}

function section(element, text) {
  show(element, Boolean(text));
  paintText(element, text);
}

function build(onCancel, onClose) {
  const parts = {
    chip: make("span", { class: "nbq-chip", role: "status" }),
    name: make("span", { class: "nbq-name" }),
    id: make("span", { class: "nbq-id" }),
    notes: make("span", { class: "nbq-notes" }),
    cancel: make("button", { class: "nbq-button", type: "button" }, "Cancel"),
    fill: make("div", { class: "nbq-fill" }),
    pace: make("div", { class: "nbq-pace" }),
    error: make("div", { class: "nbq-error" }),
    reason: make("div", { class: "nbq-pace" }),
    output: make("div", { class: "nbq-text", role: "log", "aria-label": "Output", "aria-live": "off", tabindex: "0" }),
    value: make("div", { class: "nbq-text nbq-value", "aria-label": "Value", tabindex: "0" }),
    traceback: make("div", { class: "nbq-text nbq-traceback", "aria-label": "Traceback", tabindex: "0" }),
  };
  const limits = { "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": "Progress" };
  parts.track = make("div", { class: "nbq-track", role: "progressbar", ...limits }, parts.fill);
  parts.meter = make("div", { class: "nbq-meter" }, parts.track, parts.pace);
  const head = make("div", { class: "nbq-head" }, parts.chip, parts.name, parts.id, parts.notes, parts.cancel);
  if (onClose) {
    const close = make("button", { class: "nbq-button", type: "button", "aria-label": "Close details" }, icon(ICONS.failed));
    close.addEventListener("click", onClose);
    head.append(close);
  }
  onPress(parts.cancel, onCancel);
  const body = [parts.meter, parts.reason, parts.error, parts.output, parts.value, parts.traceback];
  for (const part of body) part.hidden = true;
  parts.root = make("section", { class: "nbq-card" }, head, ...body);
  return parts;
}
