// The canvas of a grid: one small square a task, as large as fits.

import { KINDS } from "./kinds.js";

// pixels from one cell to the next, the largest that keeps the grid within MAX_HEIGHT
const PITCHES = [20, 18, 16, 14, 12, 10, 9, 8, 7, 6, 5, 4, 3];
const MAX_HEIGHT = 200;

export class Cells {
  #canvas;
  #grid;
  #pen;
  #pitch = 0;
  #columns = 0;
  #ratio = 1;
  #colors = {};
  #dirty = new Set();
  #whole = true;
  #scheduled = false;
  selected = null;
  // draw other kinds faintly; null: none
  only = null;

  constructor(canvas, grid) {
    this.#canvas = canvas;
    this.#grid = grid;
    this.#pen = canvas.getContext("2d");
  }

  // Draw all again, at once, for another width clears the canvas: another width, theme, filter or number of tasks.
  refresh() {
    this.#whole = true;
    this.#paint();
  }

  // Draw these again, with the next frame.
  touch(indices) {
    for (const index of indices) this.#dirty.add(index);
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#paint();
    });
  }

  // The task at a point of the canvas, or null.
  at(x, y) {
    const column = Math.floor(x / this.#pitch);
    const index = Math.floor(y / this.#pitch) * this.#columns + column;
    return column < this.#columns && index >= 0 && index < this.#grid.count ? index : null;
  }

  // Where an arrow key leads from a task.
  beside(index, key) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.#columns, ArrowDown: this.#columns }[key];
    const target = index + step;
    return target >= 0 && target < this.#grid.count ? target : index;
  }

  #paint() {
    if (this.#whole) this.#drawAll();
    else for (const index of this.#dirty) this.#draw(index);
    this.#dirty.clear();
  }

  #drawAll() {
    const width = this.#canvas.parentElement.clientWidth;
    if (!width || !this.#grid.count) return;
    this.#whole = false;
    this.#layOut(width);
    this.#readColors();
    for (let index = 0; index < this.#grid.count; index++) this.#draw(index);
  }

  #layOut(width) {
    const { count } = this.#grid;
    const fits = (pitch) => Math.ceil(count / Math.floor(width / pitch)) * pitch <= MAX_HEIGHT;
    this.#pitch = PITCHES.find(fits) ?? PITCHES.at(-1);
    this.#columns = Math.min(count, Math.floor(width / this.#pitch));
    const height = Math.ceil(count / this.#columns) * this.#pitch;
    const ratio = (this.#ratio = globalThis.devicePixelRatio || 1);
    // setting the size clears the canvas
    this.#canvas.width = Math.round(this.#columns * this.#pitch * ratio);
    this.#canvas.height = Math.round(height * ratio);
    this.#canvas.style.width = `${this.#columns * this.#pitch}px`;
    this.#canvas.style.height = `${height}px`;
    this.#pen.scale(ratio, ratio);
  }

  #readColors() {
    const style = getComputedStyle(this.#canvas);
    const read = (name) => style.getPropertyValue(name).trim();
    for (const kind of KINDS) this.#colors[kind] = read(`--nbq-${kind}`);
    this.#colors.text = style.color;
  }

  #draw(index) {
    if (!this.#pitch) return;
    const pen = this.#pen;
    const kind = this.#grid.kind(index);
    const pitch = this.#pitch;
    const x = (index % this.#columns) * pitch;
    const y = Math.floor(index / this.#columns) * pitch;
    // where gaps are all that is seen of it, there are none
    const gap = pitch >= 8 ? 2 : pitch >= 5 ? 1 : 0;
    const size = pitch - gap;
    pen.clearRect(x, y, pitch, pitch);
    pen.globalAlpha = this.only === null || this.only === kind ? 1 : 0.15;
    PAINT[kind](pen, x, y, size, this.#colors, this.#grid.progress[index] / 255);
    pen.globalAlpha = 1;
    if (index === this.selected) frame(pen, x, y, size, this.#colors.text);
  }
}

// How each kind looks: by colour, and by form where there is room.
const PAINT = {
  sending: hollow,
  waiting: hollow,
  running(pen, x, y, size, colors, progress) {
    fill(pen, x, y, size, size, colors.running, 0.35);
    // from the bottom, as far as it is
    const height = Math.round(size * progress);
    fill(pen, x, y + size - height, size, height, colors.running);
    if (!progress) fill(pen, x + size / 4, y + size / 4, size / 2, size / 2, colors.running);
  },
  done(pen, x, y, size, colors) {
    fill(pen, x, y, size, size, colors.done);
  },
  failed(pen, x, y, size, colors) {
    fill(pen, x, y, size, size, colors.failed);
    if (size >= 6) cross(pen, x, y, size);
  },
  cancelled(pen, x, y, size, colors) {
    fill(pen, x, y, size, size, colors.cancelled, 0.3);
    frame(pen, x, y, size, colors.cancelled);
  },
  retrying(pen, x, y, size, colors) {
    fill(pen, x, y, size, size, colors.retrying, 0.3);
    fill(pen, x + size / 4, y + size / 4, size / 2, size / 2, colors.retrying);
  },
};

function hollow(pen, x, y, size, colors) {
  fill(pen, x, y, size, size, colors.waiting, 0.3);
}

function fill(pen, x, y, width, height, color, alpha = 1) {
  const before = pen.globalAlpha;
  pen.globalAlpha = before * alpha;
  pen.fillStyle = color;
  pen.fillRect(x, y, width, height);
  pen.globalAlpha = before;
}

function frame(pen, x, y, size, color) {
  pen.strokeStyle = color;
  pen.lineWidth = size >= 6 ? 1.5 : 1;
  pen.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
}

function cross(pen, x, y, size) {
  const edge = size * 0.28;
  pen.strokeStyle = "#fff";
  pen.lineWidth = size >= 10 ? 1.5 : 1;
  pen.beginPath();
  pen.moveTo(x + edge, y + edge);
  pen.lineTo(x + size - edge, y + size - edge);
  pen.moveTo(x + size - edge, y + edge);
  pen.lineTo(x + edge, y + size - edge);
  pen.stroke();
}
