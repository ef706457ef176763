// The widget of one result.

import { Card, Task } from "./card.js";
import { make } from "./dom.js";
import { liveWidget } from "./widget.js";

const TICK = 250;

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

export default liveWidget(Task, mount);
