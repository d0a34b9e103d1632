// What a person can do to one message, with the answer told beside the button that was pressed.

import * as api from "./api.js";
import { isWaiting } from "./states.js";
import { el, setText, visible } from "./text.js";

const SURE_FOR = 4000;

const ACTIONS = {
  now: { word: "Try now", does: api.tryNow, offered: isWaiting, done: "Tried at once." },
  cancel: { word: "Cancel", does: api.cancel, offered: (message) => isWaiting(message) || message.state === "ACTIVE", done: "Cancelled." },
  retry: { word: "Retry", does: api.retry, offered: ({ dlqId }) => Boolean(dlqId), done: "Sent again as a new message." },
  remove: { word: "Delete", does: api.remove, offered: ({ dlqId }) => Boolean(dlqId), done: "Deleted.", sure: "Delete for good?" },
};

const newMessageOf = (answer) => answer?.messageId ?? answer?.responses?.[0]?.messageId ?? answer?.[0]?.messageId;

export class Actions {
  #buttons = el("div", { class: "buttons" });
  #told = el("p", { class: "told", role: "status" });
  element = el("section", { class: "actions", "aria-label": "Actions" }, this.#buttons, this.#told);
  #offered = "";
  #message;
  #after;
  #hrefOf;
  #busy = false;

  constructor(after, hrefOf) {
    this.#after = after;
    this.#hrefOf = hrefOf;
  }

  // Buttons are made anew only when others are offered, so that the focus stays where it is.
  show(message) {
    this.#message = message;
    const names = Object.keys(ACTIONS).filter((name) => ACTIONS[name].offered(message));
    if (names.join() === this.#offered) return;
    this.#offered = names.join();
    this.#buttons.replaceChildren(...names.map((name) => this.#button(ACTIONS[name])));
  }

  #button(action) {
    const button = el("button", { type: "button", class: action.sure ? "danger" : "" }, action.word);
    button.addEventListener("click", () => (this.#isSure(button, action) ? this.#run(action) : undefined));
    return button;
  }

  // What cannot be undone is asked for twice on the same button, which needs no dialog.
  #isSure(button, { sure, word }) {
    if (!sure || button.textContent === sure) return true;
    setText(button, sure);
    setTimeout(() => setText(button, word), SURE_FOR);
    return false;
  }

  async #run(action) {
    if (this.#busy) return;
    this.#busy = true;
    this.#tell("Asking the server…");
    await action.does(this.#message).then((answer) => this.#done(action, answer), (error) => this.#tell(error.message, "bad"));
    this.#busy = false;
  }

  #done(action, answer) {
    const id = action === ACTIONS.retry ? newMessageOf(answer) : undefined;
    this.#tell(action.done);
    if (id) this.#told.append(" ", el("a", { href: this.#hrefOf(id) }, "Open it"));
    this.#after();
  }

  #tell(text, tone = "") {
    setText(this.#told, visible(text));
    this.#told.className = `told ${tone}`;
  }
}
