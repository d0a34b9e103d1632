// The history of a message. The log has a line for every change of state; a person thinks in attempts, so lines are put together.

import { bodyBlock, headersBlock } from "./body.js";
import { answerClass, answerWord, stateClass, stateWord } from "./states.js";
import { el, visible } from "./text.js";
import { countdown, dayAndTime, exactly, clockTime } from "./time.js";

const CLOSING = new Set(["RETRY", "DELIVERED", "FAILED"]);
const OWN = new Set(["CREATED", "CANCEL_REQUESTED", "CANCELLED"]);

// The log is read oldest first, whichever way round it came.
function oldestFirst(log) {
  const turned = log.length > 1 && (log[0].time > log.at(-1).time || log.at(-1).state === "CREATED");
  return turned ? log.toReversed() : [...log];
}

// An attempt begins with ACTIVE and ends with what came of it, but a log without the beginnings is understood as well.
function joins(step, { state }) {
  if (!step?.attempt || step.closed || state === "ACTIVE" || OWN.has(state)) return false;
  return state !== "ERROR" || !step.failed;
}

function join(step, line) {
  const said = Object.fromEntries(Object.entries(line).filter(([, value]) => value !== undefined && value !== null));
  Object.assign(step, said, { began: step.began, time: step.time, ended: line.time });
  step.closed ||= CLOSING.has(line.state);
  step.failed ||= line.state === "ERROR";
}

export function stepsOf(log) {
  const steps = [];
  let attempts = 0;
  for (const line of oldestFirst(log)) {
    if (!joins(steps.at(-1), line)) steps.push({ time: line.time, attempt: OWN.has(line.state) ? undefined : ++attempts });
    join(steps.at(-1), line);
  }
  return steps;
}

function headline(step, created) {
  const took = step.attempt && step.ended > step.time ? `took ${exactly(step.ended - step.time)}` : undefined;
  const since = step.time > created ? `after ${exactly(step.time - created)}` : undefined;
  const when = el("span", { class: "when faint", title: dayAndTime(step.time) }, [clockTime(step.time), since, took].filter(Boolean).join(" · "));
  const answer = step.responseStatus !== undefined && el("span", { class: answerClass(step.responseStatus) }, answerWord(step.responseStatus));
  return el("div", { class: "headline" }, step.attempt && el("b", {}, `Attempt ${step.attempt}`),
    el("span", { class: stateClass(step.state) }, stateWord(step.state)), answer, when);
}

// Many errors only repeat the answer's body, which is shown right below.
function reasonLine({ error, responseBody }) {
  if (!error || (responseBody && String(error).includes(responseBody.slice(0, 60).trim()))) return undefined;
  return el("p", { class: "reason" }, visible(String(error).slice(0, 4000)));
}

function stepItem(step, created) {
  const answer = bodyBlock(step.responseBody, step.responseBodyBase64);
  return el("li", { class: stateClass(step.state).replace("state", "step") }, headline(step, created),
    reasonLine(step), answer, headersBlock("Answer's headers", step.responseHeader));
}

// A step that did not change keeps its element, so that an opened part stays open while the next attempts arrive.
export class Timeline {
  element = el("ol", { class: "timeline" });
  #said = [];

  show(log, created) {
    const steps = stepsOf(log);
    const said = steps.map((step) => JSON.stringify(step));
    steps.forEach((step, at) => said[at] !== this.#said[at] && this.#put(at, stepItem(step, created)));
    while (this.element.children.length > steps.length) this.element.lastElementChild.remove();
    this.#said = said;
  }

  #put(at, item) {
    const old = this.element.children[at];
    if (old) old.replaceWith(item);
    else this.element.append(item);
  }
}

export const nextWord = (time) => `Next attempt ${countdown(time)}, at ${clockTime(time)}`;
