// A widget's line to its kernel.

import { islandsHere } from "./islands.js";

// seconds without an answer after which the kernel counts as gone, once the connection was seen to break
const PATIENCE = 3;

// seconds after which a page wonders why nothing happens, and after which it asks again
const WONDER = 2;
const WONDER_AGAIN = 3;

export class Session {
  #model;
  #listeners = new Set();
  #heard = 0;
  #wondered = -Infinity;
  gone = false;

  // `receive(message, buffers)` takes in what the kernel says.
  constructor(model, receive, signal) {
    this.#model = model;
    model.on("msg:custom", (message, buffers) => {
      this.#heard += 1;
      this.gone = false;
      receive(message, buffers);
      this.changed();
    });
    model.on("comm_live_update", () => this.#check());
    signal.addEventListener("abort", () => this.#lose());
  }

  // Ask for everything.
  hello() {
    this.say({ type: "hello", islands: islandsHere() });
  }

  say(message) {
    try {
      this.#model.send(message);
    } catch {
      this.#lose();
    }
  }

  // Ask now and then why the task of this index has not started; `waited` seconds have passed.
  wonder(index, waited) {
    const now = performance.now() / 1000;
    if (waited === null || waited < WONDER || now - this.#wondered < WONDER_AGAIN) return;
    this.#wondered = now;
    this.say({ type: "why", index });
  }

  // Have `draw()` called after each message; returns what ends that.
  listen(draw) {
    this.#listeners.add(draw);
    return () => this.#listeners.delete(draw);
  }

  changed() {
    for (const draw of this.#listeners) draw();
  }

  #check() {
    const heard = this.#heard;
    this.hello();
    setTimeout(() => {
      if (this.#heard === heard) this.#lose();
    }, PATIENCE * 1000);
  }

  #lose() {
    this.gone = true;
    this.changed();
  }
}
