// The widget of a map or group.

import { Card, Task, chip } from "./card.js";
import { Cells } from "./cells.js";
import { OWN_KEYS, icon, make, onPress, say, show } from "./dom.js";
import { ICONS, KINDS, WAITING, count, duration, joined } from "./kinds.js";
import { Pace } from "./pace.js";
import { Rows } from "./rows.js";
import { liveWidget } from "./widget.js";

const TICK = 250;
// milliseconds between two questions about the rows in sight
const LOOK = 500;
// in the order in which bar and legend show them; what is being sent waits
const ORDER = ["done", "failed", "cancelled", "running", "retrying", "waiting"];

// What is known of a grid's tasks, and what the person looks at; fed by the kernel's messages, drawn by any number of views.
class Grid {
  name = "";
  count = 0;
  counts = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
  kinds = new Uint8Array();
  progress = new Uint8Array();
  pace = new Pace();
  // lines about single tasks, as far as they were asked for
  rows = new Map();
  // the kind that is listed, the task whose card is open and what is known of it
  filter = null;
  selected = null;
  task = null;
  // why nothing starts, as the kernel said last
  reason = "";
  // tasks that changed with the last message; null: all
  touched = null;
  #quietSince = performance.now() / 1000;
  #revision = -1;
  #elapsed = null;
  #received = 0;

  // Returns false when something is missing in between.
  take(message, buffers) {
    this.touched = [];
    if (message.type === "grid") this.#takeAll(message, buffers);
    else if (message.type === "delta") return this.#takeDelta(message, buffers);
    else if (message.type === "rows") for (const row of message.rows) this.rows.set(row.index, row);
    else if (message.type === "why" && message.index === this.asleep) this.reason = message.text;
    if (message.index !== undefined && message.index === this.selected) return this.task.take(message);
    return true;
  }

  kind(index) {
    return KINDS[this.kinds[index]];
  }

  get finished() {
    return this.count > 0 && this.#ended() === this.count;
  }

  // the kind of all tasks together
  get state() {
    if (!this.finished) return this.counts.running || this.#ended() ? "running" : "waiting";
    return ["failed", "cancelled"].find((kind) => this.counts[kind]) ?? "done";
  }

  get elapsed() {
    if (this.#elapsed === null || this.finished) return this.#elapsed;
    return this.#elapsed + performance.now() / 1000 - this.#received;
  }

  // the first of the tasks that wait while nothing runs; null: something runs, or all is done
  get asleep() {
    if (this.counts.running || this.finished) return null;
    const index = this.kinds.findIndex((code) => WAITING.has(KINDS[code]));
    return index < 0 ? null : index;
  }

  get quiet() {
    return performance.now() / 1000 - this.#quietSince;
  }

  // how many there are of a kind of ORDER
  number(kind) {
    return kind === "waiting" ? this.counts.waiting + this.counts.sending : this.counts[kind];
  }

  listed() {
    const wanted = new Set(this.filter === "waiting" ? ["waiting", "sending"] : [this.filter]);
    const indices = [];
    for (let index = 0; index < this.count; index++) if (wanted.has(this.kind(index))) indices.push(index);
    return indices;
  }

  #takeAll(message, [kinds, progress]) {
    this.name = message.name;
    this.count = message.count;
    this.kinds = bytes(kinds).slice();
    this.progress = bytes(progress).slice();
    for (const kind of KINDS) this.counts[kind] = 0;
    for (const code of this.kinds) this.counts[KINDS[code]] += 1;
    this.touched = null;
    this.#heard(message);
  }

  #takeDelta(message, [indices, kinds, progress]) {
    if (message.revision !== this.#revision + 1) return false;
    const numbers = new DataView(indices.buffer, indices.byteOffset, indices.byteLength);
    for (let i = 0; i < kinds.byteLength; i++) {
      const index = numbers.getUint32(4 * i, true);
      this.counts[this.kind(index)] -= 1;
      this.kinds[index] = kinds.getUint8(i);
      this.progress[index] = progress.getUint8(i);
      this.counts[this.kind(index)] += 1;
      this.touched.push(index);
    }
    this.#heard(message);
    return true;
  }

  #heard(message) {
    this.#revision = message.revision;
    this.#elapsed = message.elapsed;
    if (message.type === "delta") this.#quietSince = performance.now() / 1000;
    this.#received = performance.now() / 1000;
    this.pace.note(this.#ended(), this.count, this.#received, message.elapsed);
  }

  #ended() {
    return this.counts.done + this.counts.failed + this.counts.cancelled;
  }
}

class View {
  #grid;
  #session;
  #parts;
  #cells;
  #rows;
  #card = null;
  #looked = [];
  #lookedAt = 0;

  constructor(element, grid, session) {
    this.#grid = grid;
    this.#session = session;
    this.#parts = this.#build();
    element.append(this.#parts.root);
    this.#cells = new Cells(this.#parts.canvas, grid);
    this.#rows = new Rows(this.#parts.list, grid, {
      onPick: (index) => this.#select(index),
      onLook: (indices) => this.#look(indices),
    });
  }

  get root() {
    return this.#parts.root;
  }

  // Draw what the last message changed, or all: after a change of filter, selection, size or theme.
  draw(all = false) {
    const grid = this.#grid;
    if (!grid.count) return;
    this.#cells.selected = grid.selected;
    this.#cells.only = grid.filter;
    if (all || grid.touched === null) this.#cells.refresh();
    else this.#cells.touch(grid.touched);
    this.#drawHead();
    this.#drawLegend();
    this.#drawList();
    this.#drawDetail();
  }

  tick() {
    if (!this.#grid.count) return;
    this.#drawTimes();
    this.#wonder();
    if (this.#grid.task) this.#card?.tick(this.#grid.task, this.#session.gone);
    this.#look(this.#looked);
  }

  #wonder() {
    const { asleep, quiet, task, selected } = this.#grid;
    if (asleep !== null) this.#session.wonder(asleep, quiet);
    else if (task?.card && task.waits) this.#session.wonder(selected, task.elapsed);
  }

  #drawHead() {
    const grid = this.#grid;
    const parts = this.#parts;
    parts.root.classList.toggle("nbq-gone", this.#session.gone && !grid.finished);
    chip(parts.chip, grid.state, grid.state);
    say(parts.name, grid.name);
    say(parts.size, `×${count(grid.count)}`);
    show(parts.cancel, !grid.finished && !this.#session.gone);
    parts.cancel.setAttribute("aria-label", `Cancel all tasks of ${grid.name}`);
    for (const kind of ORDER) parts.bars[kind].style.flexGrow = String(grid.number(kind));
    const ended = grid.counts.done + grid.counts.failed + grid.counts.cancelled;
    parts.track.setAttribute("aria-valuenow", String(Math.floor((100 * ended) / grid.count)));
    parts.canvas.setAttribute("aria-label", `${count(grid.count)} tasks: ${this.#summary()}`);
    show(parts.reason, grid.asleep !== null && grid.reason !== "" && !this.#session.gone);
    say(parts.reason, grid.reason);
    this.#drawTimes();
  }

  #drawTimes() {
    const grid = this.#grid;
    const gone = this.#session.gone && !grid.finished;
    say(this.#parts.notes, gone ? "the kernel is gone" : grid.elapsed === null ? "" : duration(grid.elapsed));
    say(this.#parts.pace, grid.pace.text(performance.now() / 1000, grid.finished || gone));
  }

  #drawLegend() {
    for (const kind of ORDER) {
      const entry = this.#parts.legend[kind];
      const number = this.#grid.number(kind);
      show(entry.root, number > 0 || this.#grid.filter === kind);
      say(entry.number, count(number));
      entry.root.setAttribute("aria-pressed", String(this.#grid.filter === kind));
    }
  }

  #drawList() {
    const grid = this.#grid;
    this.#rows.set(grid.filter === null ? [] : grid.listed(), grid.selected);
  }

  #drawDetail() {
    const { selected, task } = this.#grid;
    show(this.#parts.detail, selected !== null);
    if (selected === null) {
      this.#parts.detail.replaceChildren();
      this.#card = null;
      return;
    }
    this.#card ??= new Card(this.#parts.detail, {
      onCancel: () => this.#session.say({ type: "cancel", index: this.#grid.selected }),
      onClose: () => this.#select(null),
    });
    this.#card.draw(task, { title: `#${selected}`, gone: this.#session.gone });
  }

  #summary() {
    const numbers = ORDER.map((kind) => [this.#grid.number(kind), kind]).filter(([number]) => number);
    return numbers.map(([number, kind]) => `${count(number)} ${kind}`).join(", ");
  }

  #select(index) {
    const grid = this.#grid;
    if (index === grid.selected) return;
    grid.selected = index;
    grid.task = index === null ? null : new Task();
    this.#parts.detail.replaceChildren();
    this.#card = null;
    this.#session.say({ type: "inspect", index });
    say(this.#parts.spoken, index === null ? "" : `Task ${index}: ${grid.kind(index)}`);
    grid.touched = null;
    this.#session.changed();
  }

  #filter(kind) {
    this.#grid.filter = this.#grid.filter === kind ? null : kind;
    this.#grid.touched = null;
    this.#session.changed();
  }

  // Ask about rows in sight: at once about others than before, now and then about those that are not finished.
  #look(indices) {
    const grid = this.#grid;
    this.#looked = indices;
    if (performance.now() - this.#lookedAt < LOOK) return;
    const stale = indices.filter((index) => {
      const row = grid.rows.get(index);
      return !row || row.kind !== grid.kind(index) || grid.kind(index) === "running";
    });
    if (!stale.length) return;
    this.#lookedAt = performance.now();
    this.#session.say({ type: "rows", indices: stale });
  }

  #onKey(event) {
    const { selected } = this.#grid;
    if (event.key === "Escape" && selected !== null) this.#select(null);
    else if (event.key.startsWith("Arrow")) this.#select(selected === null ? 0 : this.#cells.beside(selected, event.key));
    else return;
    // no scrolling
    event.preventDefault();
  }

  #onPoint(event) {
    const index = this.#cells.at(event.offsetX, event.offsetY);
    event.target.title = index === null ? "" : joined([`#${index}`, this.#grid.kind(index)]);
  }

  #build() {
    const parts = {
      chip: make("span", { class: "nbq-chip", role: "status" }),
      name: make("span", { class: "nbq-name" }),
      size: make("span", { class: "nbq-id" }),
      notes: make("span", { class: "nbq-notes" }),
      cancel: make("button", { class: "nbq-button", type: "button" }, "Cancel all"),
      pace: make("div", { class: "nbq-pace" }),
      reason: make("div", { class: "nbq-pace", hidden: "" }),
      canvas: make("canvas", { class: "nbq-canvas", role: "img", ...OWN_KEYS }),
      spoken: make("span", { class: "nbq-spoken", "aria-live": "polite" }),
      list: make("div"),
      detail: make("div", { class: "nbq-detail" }),
      bars: Object.fromEntries(ORDER.map((kind) => [kind, make("div", { class: "nbq-share", "data-kind": kind })])),
      legend: Object.fromEntries(ORDER.map((kind) => [kind, this.#entry(kind)])),
    };
    const limits = { "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": "Progress of all tasks" };
    parts.track = make("div", { class: "nbq-track", role: "progressbar", ...limits }, ...Object.values(parts.bars));
    const legend = make("div", { class: "nbq-legend", role: "group", "aria-label": "List tasks by state" });
    legend.append(...ORDER.map((kind) => parts.legend[kind].root));
    const head = make("div", { class: "nbq-head" }, parts.chip, parts.name, parts.size, parts.notes, parts.cancel);
    const meter = make("div", { class: "nbq-meter" }, parts.track, parts.pace, parts.reason);
    const field = make("div", { class: "nbq-field" }, parts.canvas, parts.spoken);
    onPress(parts.cancel, () => this.#session.say({ type: "cancel", index: null }));
    parts.canvas.addEventListener("click", (event) => this.#select(this.#cells.at(event.offsetX, event.offsetY)));
    parts.canvas.addEventListener("keydown", (event) => this.#onKey(event));
    parts.canvas.addEventListener("mousemove", (event) => this.#onPoint(event));
    parts.root = make("section", { class: "nbq-card" }, head, meter, field, legend, parts.list, parts.detail);
    return parts;
  }

  #entry(kind) {
    const number = make("span", { class: "nbq-count" });
    const root = make("button", { class: "nbq-entry", type: "button", "data-kind": kind }, icon(ICONS[kind]), number, kind);
    root.addEventListener("click", () => this.#filter(kind));
    return { root, number };
  }
}

function mount(element, grid, session) {
  const root = make("div", { class: "nbqueue" });
  element.append(root);
  const view = new View(root, grid, session);
  const deaf = session.listen(() => view.draw());
  const clock = setInterval(() => grid.finished || view.tick(), TICK);
  const sizes = new ResizeObserver(() => view.draw(true));
  sizes.observe(root);
  const themes = new MutationObserver(() => view.draw(true));
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "class"] });
  view.draw(true);
  return () => {
    deaf();
    clearInterval(clock);
    sizes.disconnect();
    themes.disconnect();
    root.remove();
  };
}

function bytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

export default liveWidget(Grid, mount);
