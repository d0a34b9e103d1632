// One message, opened: beside the list on a wide screen, in place of it on a phone.

import * as api from "./api.js";
import { Actions } from "./actions.js";
import { bodyBlock, headersBlock } from "./body.js";
import { attemptsWord, isWaiting, stateClass, stateWord } from "./states.js";
import { copyButton, el, setClass, setText, urlText, visibleLine } from "./text.js";
import { dayAndTime } from "./time.js";
import { Timeline, nextWord } from "./timeline.js";

const GATHER = 120;

function factsOf(message) {
  const kinds = { callback: "callback of another message", failureCallback: "failure callback of another message" };
  return [
    ["Attempts", attemptsWord(message)],
    ["Created", dayAndTime(message.createdAt)],
    ["Kind", kinds[message.kind]],
    ["Label", message.label], ["Topic", message.topicName], ["Queue", message.queueName], ["Schedule", message.scheduleId],
    ["Callback", message.callback], ["Failure callback", message.failureCallback], ["Dead letter", message.dlqId],
  ].filter(([, value]) => value);
}

const factLine = ([name, value]) => [el("dt", {}, name), el("dd", {}, el("bdi", {}, visibleLine(String(value).slice(0, 4000))))];

const part = (title, ...content) => el("section", { class: "part" }, el("h3", {}, title), ...content);

// The parts of one message's page. They are made once, and then only what changed is written.
class Sheet {
  constructor(id, { close, after, hrefOf }) {
    this.state = el("span", { class: "state" });
    this.method = el("span", { class: "method" });
    this.title = el("h2", { tabindex: "-1", class: "target" });
    this.next = el("p", { class: "upcoming", hidden: true });
    this.gone = el("p", { class: "gone", role: "status", hidden: true });
    this.actions = new Actions(after, hrefOf);
    this.timeline = new Timeline();
    this.facts = el("dl", { class: "facts" });
    this.request = el("div", {});
    this.elements = this.#arrange(id, close);
  }

  #arrange(id, close) {
    const closer = el("button", { type: "button", class: "close", "aria-label": "Close the message" }, "✕");
    closer.addEventListener("click", close);
    const head = el("header", { class: "head" }, el("div", { class: "headline" }, this.state, this.method, copyButton("Copy ID", () => id), closer),
      this.title, el("code", { class: "id" }, visibleLine(id)));
    return [head, el("div", { class: "sheet" }, this.gone, this.actions.element, this.next, part("Attempts", this.timeline.element),
      part("Request", this.request), part("About", this.facts))];
  }

  showSummary(message) {
    setText(this.state, stateWord(message.state));
    setClass(this.state, stateClass(message.state));
    setText(this.method, visibleLine(message.method));
    if (this.url !== message.url) this.title.replaceChildren(urlText(String(message.url).slice(0, 4000)));
    this.url = message.url;
    this.upcoming = isWaiting(message) ? message.nextDeliveryTime : undefined;
    this.#showFacts(message);
    this.actions.show(message);
    this.tick();
  }

  #showFacts(message) {
    const facts = factsOf(message);
    const said = JSON.stringify(facts);
    if (this.said !== said) this.facts.replaceChildren(...facts.flatMap(factLine));
    this.said = said;
  }

  // A request never changes, so it is laid out once.
  showWhole(message) {
    this.timeline.show(message.log ?? [], message.createdAt);
    if (this.whole) return;
    this.whole = true;
    const body = bodyBlock(message.body, message.bodyBase64, "No body was sent.");
    this.request.replaceChildren(...[body, headersBlock("Headers", message.header)].filter(Boolean));
  }

  tick() {
    this.next.hidden = !this.upcoming;
    if (this.upcoming) setText(this.next, nextWord(this.upcoming));
  }

  tell(text) {
    setText(this.gone, text ?? "");
    this.gone.hidden = !text;
  }
}

export class Detail {
  #panel;
  #told;
  #id;
  #sheet;
  #timer;
  #summary;

  constructor(panel, told) {
    this.#panel = panel;
    this.#told = told;
  }

  // A person who opened a message is led to it; one who followed a link to it already is there.
  open(id, summary) {
    if (id === this.#id) return;
    this.#id = id;
    this.#summary = summary;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sheet = id && new Sheet(id, { ...this.#told, after: () => this.#acted() });
    this.#panel.hidden = !id;
    this.#panel.replaceChildren(...(this.#sheet?.elements ?? []));
    if (id) this.#begin();
  }

  #begin() {
    this.#panel.scrollTop = 0;
    if (this.#summary) this.#sheet.showSummary(this.#summary);
    else setText(this.#sheet.title, "Loading…");
    this.#sheet.title.focus({ preventScroll: true });
    this.reload();
  }

  heard(summary) {
    if (summary.messageId === this.#id) this.#soon();
  }

  tick() {
    this.#sheet?.tick();
  }

  #acted() {
    this.#soon();
    this.#told.acted();
  }

  // A message that changes many times a second is read again only once for all of it.
  #soon() {
    this.#timer ??= setTimeout(() => this.reload(), GATHER);
  }

  async reload() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const [id, sheet] = [this.#id, this.#sheet];
    if (!id) return;
    const answer = await api.readMessage(id).then((message) => ({ message }), (error) => ({ error }));
    if (sheet === this.#sheet) this.#show(sheet, answer);
  }

  #show(sheet, { message, error }) {
    if (error) return this.#failed(sheet, error);
    sheet.tell();
    this.#summary = message;
    sheet.showSummary(message);
    sheet.showWhole(message);
  }

  #failed(sheet, error) {
    const known = this.#summary ? " This is what was last known of it." : "";
    sheet.tell(error.status === 404 ? `The server no longer knows this message.${known}` : error.message);
    if (!this.#summary) setText(sheet.title, "Unknown message");
    if (error.status === 404) sheet.actions.show({});
  }
}
