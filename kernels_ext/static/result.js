// The widget of one result.

import { Card, Task } from "./card.js";
import { make } from "./dom.js";
import { moveIn } from "./islands.js";
import { Session } from "./session.js";

const TICK = 250;

// what each widget of this page knows, by its key
const widgets = new Map();

export default {
  initialize({ model, signal }) {
    const task = new Task();
    const key = model.get("key");
    const session = new Session(model, receive, signal);
    function receive(message) {
      if (!task.take(message)) session.hello();
      moveIn(key, (element) => mount(element, task, session), signal);
    }
    widgets.set(key, { task, session });
    signal.addEventListener("abort", () => widgets.delete(key));
    session.hello();
  },

  render({ model, el }) {
    const { task, session } = widgets.get(model.get("key"));
    const unmount = mount(el, task, session);
    session.hello();
    return unmount;
  },
};

function mount(element, task, session) {
  const root = make("div", { class: "nbqueue" });
  element.append(root);
  const card = new Card(root, { onCancel: () => session.say({ type: "cancel", index: null }) });
  const draw = () => card.draw(task, { gone: session.gone });
  const deaf = session.listen(draw);
  const clock = setInterval(() => {
    if (!task.card || task.final) return;
    if (task.waits) session.wonder(null, task.elapsed);
    card.tick(task, session.gone);
  }, TICK);
  draw();
  return () => {
    deaf();
    clearInterval(clock);
    root.remove();
  };
}
