// The rows of a list. Each message keeps its element for as long as it is shown, so that nothing blinks, jumps or loses focus.

import { el, setClass, setText, urlText, visibleLine } from "./text.js";
import { age, countdown } from "./time.js";
import { answerClass, answerWord, attemptsWord, isWaiting, reasonOf, stateClass, stateWord } from "./states.js";

export const ROWS = 300;
const CALM = 5;

function aboutParts(summary) {
  const parts = [["reason", reasonOf(summary)], ["topic", summary.topicName], ["queue", summary.queueName]];
  parts.push(["schedule", summary.scheduleId], ["label", summary.label]);
  parts.push(["kind", { callback: "callback", failureCallback: "failure callback" }[summary.kind]]);
  const said = parts.filter(([, text]) => text);
  return said.length ? said : [["id", summary.messageId]];
}

const NAMED = new Set(["topic", "queue", "schedule", "label"]);

// A name is cut before it is shown, because a label of a megabyte would be laid out in full to be hidden.
const aboutPart = ([kind, text]) =>
  el("span", { class: kind }, NAMED.has(kind) && el("i", {}, kind), el("bdi", {}, visibleLine(String(text).slice(0, 300))));

function newRow() {
  const cell = (name) => el("span", { class: name });
  const cells = { state: cell("state"), what: cell("what"), about: cell("about"), attempts: cell("attempts"), answer: cell("answer"), next: cell("next"), age: cell("age") };
  const link = el("a", { class: "row", tabindex: "-1" }, Object.values(cells));
  return { ...cells, link, item: el("li", {}, link), said: "", url: undefined };
}

function nextWord(summary) {
  return summary.nextDeliveryTime && isWaiting(summary) ? countdown(summary.nextDeliveryTime) : "";
}

function fill(row, summary) {
  row.summary = summary;
  setText(row.state, stateWord(summary.state));
  setClass(row.state, stateClass(summary.state));
  setText(row.attempts, attemptsWord(summary));
  setText(row.answer, answerWord(summary.responseStatus));
  setClass(row.answer, answerClass(summary.responseStatus));
  fillWords(row, summary);
  tick(row);
}

function fillWords(row, summary) {
  const url = String(summary.url).slice(0, 1000);
  if (row.url !== url) row.what.replaceChildren(el("span", { class: "method" }, visibleLine(summary.method)), urlText(url));
  row.url = url;
  const parts = aboutParts(summary);
  const said = JSON.stringify(parts);
  if (row.said !== said) row.about.replaceChildren(...parts.map(aboutPart));
  row.said = said;
}

function tick({ summary, next, age: old }) {
  setText(next, nextWord(summary));
  setText(old, age(summary.createdAt));
}

export class Rows {
  #list;
  #scroller;
  #rows = new Map();
  #pressed = false;
  #focused;

  constructor(list, scroller) {
    this.#list = list;
    this.#scroller = scroller;
    list.addEventListener("keydown", (event) => this.#walk(event));
    list.addEventListener("focusin", (event) => this.#stopAt(event.target.closest("a")));
    list.addEventListener("pointerdown", () => (this.#pressed = true));
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => setTimeout(() => (this.#pressed = false)));
  }

  // Rows must not move under a finger, nor away from somebody who has scrolled down to read.
  get held() {
    return this.#pressed || this.#scroller.scrollTop > 8;
  }

  // Returns how many messages wait to be shown because the list is held.
  show(summaries, { open, hrefOf, held, most }) {
    const wanted = summaries.filter(({ messageId }, at) => at < most || messageId === open);
    const fresh = wanted.filter(({ messageId }) => !this.#rows.has(messageId));
    if (!held) this.#arrange(wanted, fresh.length);
    for (const summary of held ? summaries : wanted) this.#refresh(summary, hrefOf, open);
    if (!held) this.#keepStop();
    return held ? fresh.length : 0;
  }

  tick() {
    for (const row of this.#rows.values()) tick(row);
  }

  focus(id) {
    this.#rows.get(id)?.link.focus();
  }

  #refresh(summary, hrefOf, open) {
    const row = this.#rows.get(summary.messageId);
    if (!row) return;
    if (row.summary !== summary) fill(row, summary);
    const href = hrefOf(summary.messageId);
    if (row.link.getAttribute("href") !== href) row.link.setAttribute("href", href);
    if (summary.messageId === open) row.link.setAttribute("aria-current", "true");
    else row.link.removeAttribute("aria-current");
  }

  // A row that stays is never moved: a moved element would lose its focus and its selection.
  #arrange(wanted, fresh) {
    const ids = new Set(wanted.map(({ messageId }) => messageId));
    for (const [id, row] of this.#rows) if (!ids.has(id)) this.#drop(id, row);
    const greet = this.#rows.size > 0 && fresh <= CALM;
    let place = this.#list.firstElementChild;
    for (const { messageId } of wanted) {
      const row = this.#rows.get(messageId) ?? this.#add(messageId, greet);
      if (row.item === place) place = place.nextElementSibling;
      else this.#list.insertBefore(row.item, place);
    }
  }

  #add(id, greet) {
    const row = newRow();
    setClass(row.item, greet ? "fresh" : "");
    this.#rows.set(id, row);
    return row;
  }

  #drop(id, row) {
    row.item.remove();
    this.#rows.delete(id);
  }

  // One row is reached by the tab key, and the arrows walk from there, so that nobody tabs through 300 links.
  #stopAt(link) {
    if (!link || link === this.#focused) return;
    this.#focused?.setAttribute("tabindex", "-1");
    link.setAttribute("tabindex", "0");
    this.#focused = link;
  }

  #keepStop() {
    if (!this.#focused?.isConnected) this.#stopAt(this.#list.querySelector("a"));
  }

  #walk(event) {
    const item = event.target.closest("li");
    const ends = { Home: this.#list.firstElementChild, End: this.#list.lastElementChild };
    const to = { ArrowDown: item?.nextElementSibling, ArrowUp: item?.previousElementSibling, ...ends }[event.key];
    if (!to) return;
    event.preventDefault();
    to.querySelector("a").focus();
  }
}
