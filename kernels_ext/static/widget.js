// What both widgets have in common: their life in a page.

import { moveIn } from "./islands.js";
import { Session } from "./session.js";

// A widget for anywidget.  `State` takes in what the kernel says; `mount(element, state, session)` draws it, and
// returns what undoes that.  All views of a widget share one state, so that a new one has all at once.
export function liveWidget(State, mount) {
  const living = new Map();
  return {
    initialize({ model, signal }) {
      const key = model.get("key");
      const state = new State();
      const session = new Session(model, receive, signal);
      const fill = (element) => mount(element, state, session);
      let heard = false;
      function receive(message, buffers) {
        if (!state.take(message, buffers)) session.hello();
        // not earlier: there would be nothing to show in place of the frozen html
        if (!heard) moveIn(key, fill, signal);
        heard = true;
      }
      living.set(key, { fill, session });
      session.hello();
    },

    render({ model, el }) {
      const { fill, session } = living.get(model.get("key"));
      const unmount = fill(el);
      session.hello();
      return unmount;
    },
  };
}
