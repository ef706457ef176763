// A list of many tasks of which only the rows in sight exist.

import { OWN_KEYS, icon, make, say } from "./dom.js";
import { ICONS, duration } from "./kinds.js";

const HEIGHT = 24;
// rows above and below the ones in sight
const SPARE = 4;

export class Rows {
  #root;
  #room;
  #grid;
  #indices = [];
  #rows = new Map();
  #onPick;
  #onLook;
  #selected = null;

  // `onPick(index)` when a row is chosen, `onLook(indices)` when rows come into sight.
  constructor(element, grid, { onPick, onLook }) {
    this.#grid = grid;
    this.#onPick = onPick;
    this.#onLook = onLook;
    this.#room = make("div", { class: "nbq-room" });
    this.#root = make("div", { class: "nbq-rows", role: "listbox", "aria-label": "Tasks", ...OWN_KEYS }, this.#room);
    this.#root.addEventListener("scroll", () => this.draw());
    this.#root.addEventListener("click", (event) => this.#pick(event.target.closest(".nbq-row")?.dataset.index));
    this.#root.addEventListener("keydown", (event) => this.#key(event));
    element.append(this.#root);
  }

  set(indices, selected) {
    this.#indices = indices;
    this.#selected = selected;
    this.#root.hidden = indices.length === 0;
    this.#room.style.height = `${indices.length * HEIGHT}px`;
    this.draw();
  }

  draw() {
    if (this.#root.hidden) return;
    const first = Math.max(0, Math.floor(this.#root.scrollTop / HEIGHT) - SPARE);
    const last = Math.ceil((this.#root.scrollTop + this.#root.clientHeight) / HEIGHT) + SPARE;
    const wanted = this.#indices.slice(first, last);
    const inSight = new Set(wanted);
    for (const [index, row] of this.#rows) {
      if (!inSight.has(index)) {
        row.root.remove();
        this.#rows.delete(index);
      }
    }
    wanted.forEach((index, offset) => this.#drawRow(index, first + offset));
    this.#onLook(wanted);
  }

  #drawRow(index, position) {
    const row = this.#rows.get(index) ?? this.#add(index);
    const kind = this.#grid.kind(index);
    const known = this.#grid.rows.get(index);
    row.root.style.transform = `translateY(${position * HEIGHT}px)`;
    row.root.setAttribute("aria-selected", String(index === this.#selected));
    if (row.kind.dataset.kind !== kind) {
      row.kind.dataset.kind = kind;
      row.kind.replaceChildren(icon(ICONS[kind]));
      row.kind.setAttribute("aria-label", kind);
    }
    say(row.number, `#${index}`);
    say(row.text, known?.text ?? "");
    say(row.worker, known?.worker ?? "");
    say(row.time, known && known.elapsed !== null ? duration(known.elapsed) : "");
    row.bar.style.transform = `scaleX(${kind === "running" ? this.#grid.progress[index] / 255 : 0})`;
  }

  #add(index) {
    const row = {
      kind: make("span", { class: "nbq-mark", role: "img" }),
      number: make("span", { class: "nbq-number" }),
      text: make("span", { class: "nbq-line" }),
      worker: make("span", { class: "nbq-worker" }),
      time: make("span", { class: "nbq-time" }),
      bar: make("span", { class: "nbq-under" }),
    };
    row.root = make("div", { class: "nbq-row", role: "option", "data-index": String(index) }, ...Object.values(row));
    this.#rows.set(index, row);
    this.#room.append(row.root);
    return row;
  }

  #pick(index) {
    if (index !== undefined) this.#onPick(Number(index));
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const position = Math.max(0, this.#indices.indexOf(this.#selected) + step);
    const index = this.#indices[Math.min(position, this.#indices.length - 1)];
    const top = position * HEIGHT;
    if (top < this.#root.scrollTop) this.#root.scrollTop = top;
    const bottom = top + HEIGHT - this.#root.clientHeight;
    if (bottom > this.#root.scrollTop) this.#root.scrollTop = bottom;
    this.#pick(index);
  }
}
