// Frozen html comes to life.
//
// The kernel leaves <nbqueue-island data-key="…">frozen html</nbqueue-island> in the notebook.  Where no kernel is, the
// browser shows what is inside.  In a page that has the widget of that key, the widget moves in as soon as the
// element is in the document, before it is painted; when it leaves, the frozen html is back.

const TAG = "nbqueue-island";

// one map of tenants for the page, however often this module is loaded
const tenants = (globalThis[Symbol.for("nbqueue.islands")] ??= new Map());

// Whether outputs stand in the document that runs this script, as in JupyterLab and Notebook 7.
export function islandsHere() {
  return document.body.dataset.jpThemeName !== undefined;
}

// Have `mount(element)` fill all islands of this key, now and later, until the signal; it returns what undoes it.
export function moveIn(key, mount, signal) {
  tenants.set(key, mount);
  signal.addEventListener("abort", () => {
    if (tenants.get(key) === mount) tenants.delete(key);
  });
  if (!customElements.get(TAG)) customElements.define(TAG, Island);
  for (const island of document.querySelectorAll(TAG)) {
    if (island.dataset.key === key) island.open();
  }
}

class Island extends HTMLElement {
  connectedCallback() {
    this.open();
  }

  disconnectedCallback() {
    this.leave?.();
  }

  // Let the tenant of its key in; an earlier one leaves.
  open() {
    const mount = tenants.get(this.dataset.key);
    if (!mount) return;
    this.leave?.();
    const frozen = [...this.childNodes];
    this.replaceChildren();
    const unmount = mount(this);
    this.leave = () => {
      unmount();
      this.replaceChildren(...frozen);
      this.leave = undefined;
    };
  }
}
