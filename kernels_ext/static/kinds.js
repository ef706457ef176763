// What states mean to the person who looks on, and how numbers are written.

// in the order of their codes in a grid's buffers (the same list stands in widgets/messages.py)
export const KINDS = ["sending", "waiting", "running", "done", "failed", "cancelled", "retrying"];
export const WAITING = new Set(["sending", "waiting", "retrying"]);
export const FINAL = new Set(["done", "failed", "cancelled"]);

// one path each on a 16×16 square, drawn as a line
export const ICONS = {
  sending: "M3 8h9M8.5 4.5 12 8l-3.5 3.5",
  waiting: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M8 5v3.2l2.2 1.3",
  running: "M8 2.5a5.5 5.5 0 1 1-5.5 5.5",
  done: "M3 8.5l3.2 3.2L13 5",
  failed: "M4 4l8 8M12 4l-8 8",
  cancelled: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M4.2 4.2l7.6 7.6",
  retrying: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v3h-3",
};

// "0.45 s", "12 s", "3 min 20 s", "2 h 5 min", as kernels_ext/text.py writes them
export function duration(seconds) {
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 0.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return joined([`${Math.floor(whole / 60)} min`, whole % 60 ? `${whole % 60} s` : ""], " ");
  const minutes = Math.round(whole / 60);
  return joined([`${Math.floor(minutes / 60)} h`, minutes % 60 ? `${minutes % 60} min` : ""], " ");
}

export function count(number) {
  return Number.isInteger(number) ? number.toLocaleString("en") : String(Number(number.toPrecision(4)));
}

// An id begins with its client's name and ends with a count: both tell tasks apart.
export function shortId(id) {
  return id.length > 9 ? `${id.slice(0, 4)}…${id.slice(-4)}` : id;
}

export function joined(parts, separator = " · ") {
  return parts.filter(Boolean).join(separator);
}
