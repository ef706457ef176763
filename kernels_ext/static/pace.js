// How fast something goes, and how long it will still take.

import { count, duration, joined } from "./kinds.js";

// seconds over which the rate is measured
const WINDOW = 15;

export class Pace {
  #samples = [];
  #done = 0;
  #total = 0;
  #before = null;

  // `done` of `total` at `now` (seconds); `elapsed` seconds have gone into it so far.
  note(done, total, now, elapsed) {
    if (done < this.#done) this.#samples = [];
    this.#done = done;
    this.#total = total;
    this.#before = elapsed > 0 ? done / elapsed : null;
    this.#samples.push([now, done]);
    while (this.#samples.length > 2 && this.#samples[1][0] < now - WINDOW) this.#samples.shift();
  }

  // per second; null while nothing is known
  get rate() {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    // what was before we looked counts until there is something of our own
    if (!last || last[0] - first[0] < 2) return this.#before;
    return (last[1] - first[1]) / (last[0] - first[0]);
  }

  // "34/100 · 12.1/s · 5 s left"
  text(now, finished) {
    const rate = this.rate;
    const done = this.#total ? `${count(this.#done)}/${count(this.#total)}` : count(this.#done);
    return joined([done, rate > 0 ? perTime(rate) : "", finished ? "" : this.#left(now, rate)]);
  }

  #left(now, rate) {
    if (!(rate > 0) || !this.#total || this.#done >= this.#total) return "";
    const since = now - this.#samples.at(-1)[0];
    const left = Math.ceil((this.#total - this.#done) / rate - since);
    if (left < 1) return "about to end";
    return left < 60 ? `${left} s left` : `${duration(left)} left`;
  }
}

function perTime(rate) {
  return rate >= 1 ? `${Number(rate.toPrecision(3)).toLocaleString("en")}/s` : `${duration(1 / rate)} each`;
}
