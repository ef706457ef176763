// Small helpers.  Text goes into the page as text: nothing that a task is named or prints is ever parsed as html.

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes and children (elements or text).
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A 16×16 icon drawn from one path.
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 16 16", "aria-hidden": "true", class: "nbq-icon" })) {
    svg.setAttribute(name, value);
  }
  const shape = document.createElementNS(SVG, "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

// For what has keys of its own: the notebook must not take them for its shortcuts.
export const OWN_KEYS = { tabindex: "0", "data-lm-suppress-shortcuts": "true" };

// Have a button act, and then rest for a moment: what it asks for takes effect elsewhere.
export function onPress(button, act) {
  button.addEventListener("click", () => {
    button.disabled = true;
    setTimeout(() => (button.disabled = false), 2000);
    act();
  });
}

// Set the text only if it differs: what does not change keeps its selection, and screen readers stay quiet.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, shown) {
  element.hidden = !shown;
}
