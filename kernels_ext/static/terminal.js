// A task's output as a terminal would show it: carriage returns overwrite, escape codes colour, old lines go.

const MAX_LINES = 2000;
const MAX_COLUMNS = 2000;
// the eight colours, legible on white and on black (also in ansi.py)
const PALETTE = ["#767676", "#d1454a", "#1f8f4d", "#a3700f", "#2b7de0", "#b04fae", "#16858b", "#8a8a8a"];
// control sequences: those that we follow, then all others
const SEQUENCE = /\x1b\[([0-9;]{0,64})([AKm])|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[^[]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\n|\r/g;
// one at the end of a text waits for the next
const UNFINISHED = /\x1b(\[[0-?]*[ -/]*)?$/;

export class Terminal {
  #element;
  #lines = [];
  #row = 0;
  #column = 0;
  #style = "";
  #dirty = new Set();
  #rest = "";
  #scheduled = false;

  constructor(element) {
    this.#element = element;
  }

  clear() {
    this.#element.replaceChildren();
    this.#lines = [];
    this.#dirty.clear();
    this.#row = this.#column = 0;
    this.#style = this.#rest = "";
  }

  write(text) {
    text = this.#rest + text;
    this.#rest = text.match(UNFINISHED)?.[0] ?? "";
    text = text.slice(0, text.length - this.#rest.length);
    let position = 0;
    for (const match of text.matchAll(SEQUENCE)) {
      this.#put(text.slice(position, match.index));
      this.#control(match);
      position = match.index + match[0].length;
    }
    this.#put(text.slice(position));
    this.#schedule();
  }

  #control([sequence, parameters, final]) {
    if (sequence === "\n") {
      this.#row += 1;
      this.#column = 0;
      this.#line();
    } else if (sequence === "\r") this.#column = 0;
    else if (final === "m") this.#style = restyled(this.#style, parameters);
    else if (final === "A") this.#row = Math.max(0, this.#row - (Number(parameters) || 1));
    else if (final === "K") this.#erase(Number(parameters) || 0);
  }

  #erase(mode) {
    const line = this.#line();
    if (mode === 2) line.cells = [];
    else if (mode === 0) line.cells.length = Math.min(line.cells.length, this.#column);
    this.#dirty.add(line);
  }

  #put(text) {
    if (!text) return;
    const line = this.#line();
    for (const character of text) {
      const fits = this.#column < MAX_COLUMNS;
      const place = fits ? this.#column++ : MAX_COLUMNS - 1;
      while (line.cells.length < place) line.cells.push([" ", ""]);
      line.cells[place] = [fits ? character : "…", this.#style];
      if (!fits) break;
    }
    this.#dirty.add(line);
  }

  // The line that the cursor is on, made if it is not there.
  #line() {
    while (this.#lines.length <= this.#row) {
      const line = { cells: [], element: document.createElement("div") };
      this.#lines.push(line);
      this.#dirty.add(line);
    }
    while (this.#lines.length > MAX_LINES) {
      const gone = this.#lines.shift();
      gone.element.remove();
      this.#dirty.delete(gone);
      this.#row -= 1;
    }
    return this.#lines[this.#row];
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.paint();
    });
  }

  // Bring the page up to date; who looks at the end keeps looking at it.
  paint() {
    const element = this.#element;
    const following = element.scrollHeight - element.scrollTop - element.clientHeight < 24;
    for (const line of this.#dirty) {
      line.element.replaceChildren(...runs(line.cells));
      if (!line.element.isConnected) element.append(line.element);
    }
    this.#dirty.clear();
    if (following) element.scrollTop = element.scrollHeight;
  }
}

// A text that is complete, such as a traceback.
export function paintText(element, text) {
  if (element.dataset.shown === text) return;
  element.dataset.shown = text;
  const terminal = new Terminal(element);
  terminal.clear();
  terminal.write(text);
  terminal.paint();
  element.scrollTop = 0;
}

// Neighbours of one style as one piece; text nodes and spans only.
function* runs(cells) {
  let start = 0;
  for (let end = 1; end <= cells.length; end++) {
    if (end < cells.length && cells[end][1] === cells[start][1]) continue;
    const text = cells.slice(start, end).map((cell) => cell[0]).join("");
    yield styled(text, cells[start][1]);
    start = end;
  }
  // an empty line has a height
  if (!cells.length) yield document.createElement("br");
}

function styled(text, style) {
  if (!style) return document.createTextNode(text);
  const [color, bold] = style.split("|");
  const span = document.createElement("span");
  if (color) span.style.color = `color-mix(in srgb, ${color} 80%, currentColor)`;
  if (bold) span.style.fontWeight = "bold";
  span.textContent = text;
  return span;
}

// Styles are strings, "colour|bold": equal ones are compared often.
function restyled(style, parameters) {
  let [color = "", bold = ""] = style.split("|");
  const codes = parameters.split(";").map(Number);
  while (codes.length) {
    const code = codes.shift();
    if (code === 0) color = bold = "";
    else if (code === 1) bold = "b";
    else if (code === 22) bold = "";
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) color = PALETTE[code % 10];
    else if (code === 38) color = extended(codes);
    else if (code === 39) color = "";
    else if (code === 48) extended(codes);
  }
  return color || bold ? `${color}|${bold}` : "";
}

function extended(codes) {
  if (codes.shift() === 2) return `rgb(${codes.splice(0, 3).map((code) => code & 255).join(",")})`;
  const number = codes.shift() ?? 0;
  if (number < 16) return PALETTE[number % 8];
  if (number >= 232) return `rgb(${Array(3).fill(8 + 10 * (number - 232)).join(",")})`;
  const cube = number - 16;
  const level = (step) => step && 55 + 40 * step;
  return `rgb(${[Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map(level).join(",")})`;
}
