// The lists that are only looked at: topics, queues, schedules, flow control and chaos. An empty one says how to get its first line.

import { token, user } from "./api.js";
import { copyButton, el, number, plural, setText, urlText, visibleLine } from "./text.js";
import { age, clockTime, countdown } from "./time.js";

const name = (text) => el("bdi", { class: "name" }, visibleLine(text));
const badge = (text, tone) => el("span", { class: `badge ${tone}` }, text);
const running = (stopped, word = "Running") => (stopped ? badge("Paused", "is-trouble") : badge(word, "is-delivered"));
const ofMost = (count, most) => (most ? `${number(count ?? 0)} of ${number(most)}` : "no limit");

// Ages and countdowns say which moment they are about, and are written again every second without a new table.
function moment(time, word) {
  const span = el("time", { "data-time": time, "data-word": word });
  tickMoment(span);
  return span;
}

function tickMoment(span) {
  const time = Number(span.dataset.time);
  setText(span, span.dataset.word === "age" ? `${age(time)} ago` : `${countdown(time)} (${clockTime(time)})`);
}

const endpoint = ({ name: called, url }) => el("li", {}, urlText(url), called && el("span", { class: "faint" }, " · ", name(called)));

const topicRow = (topic) => [
  name(topic.name),
  topic.endpoints?.length ? el("ul", { class: "plain" }, topic.endpoints.map(endpoint)) : el("span", { class: "faint" }, "none"),
  moment(topic.updatedAt ?? topic.createdAt, "age"),
];

const queueRow = (queue) => [name(queue.name), number(queue.lag), number(queue.parallelism), running(queue.paused)];

function scheduleRow(schedule) {
  const next = schedule.nextScheduleTime && !schedule.isPaused ? moment(schedule.nextScheduleTime, "next") : "–";
  const condition = schedule.error ? el("span", { class: "reason" }, visibleLine(schedule.error)) : running(schedule.isPaused);
  return [name(schedule.scheduleId), el("code", {}, visibleLine(schedule.cron)), urlText(schedule.destination), next, condition];
}

const flowRow = (flow) => [
  name(flow.flowControlKey),
  number(flow.waitListSize),
  ofMost(flow.parallelismCount, flow.parallelismMax),
  flow.rateMax ? `${ofMost(flow.rateCount, flow.rateMax)} in ${plural(flow.ratePeriod ?? 1, "second")}` : "no limit",
  running(flow.isPaused),
];

const CHAOS_SHOWN = new Set(["fault", "url", "topic", "share"]);
const plainValue = (value) => visibleLine(typeof value === "object" ? JSON.stringify(value) : value);

// A rule's other fields depend on its fault, so they are shown by their own names.
function chaosRow(rule) {
  const where = rule.url ? urlText(rule.url) : rule.topic ? el("span", {}, el("i", {}, "topic "), name(rule.topic)) : "everywhere";
  const rest = Object.entries(rule).filter(([key, value]) => !CHAOS_SHOWN.has(key) && value !== null);
  const share = typeof rule.share === "number" ? `${number(Math.round(rule.share * 1000) / 10)} %` : "always";
  return [name(rule.fault), where, share, rest.length ? el("code", {}, rest.map(([key, value]) => `${visibleLine(key)}: ${plainValue(value)}`).join(", ")) : "–"];
}

// A shell must read what is pasted as one word, whatever is in it.
const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

function curl(method, path, body, headers = []) {
  const given = path.startsWith("/v2/") ? [`Authorization: Bearer ${token()}`, ...headers] : headers;
  if (body) given.push("Content-Type: application/json");
  const parts = [`curl -X ${method} ${quoted(location.origin + path)}`, ...given.map((header) => `-H ${quoted(header)}`)];
  return (body ? [...parts, `-d ${quoted(body)}`] : parts).join(" \\\n  ");
}

const HOOK = "http://127.0.0.1:3000/hook";
const ONE_ENDPOINT = JSON.stringify({ endpoints: [{ name: "mine", url: HOOK }] });
const HELLO = '{"hello":"world"}';

const EMPTY = {
  messages: ["No messages yet", "Publish one and watch it arrive here.", () => curl("POST", `/v2/publish/${HOOK}`, HELLO)],
  dead: ["No dead letters", "A message whose last retry failed is kept here. This one fails at once.",
    () => curl("POST", "/v2/publish/http://127.0.0.1:9/nobody", HELLO, ["Upstash-Retries: 0"])],
  topics: ["No topics", "A topic sends one message to each of its endpoints.", () => curl("POST", "/v2/topics/orders/endpoints", ONE_ENDPOINT)],
  queues: ["No queues", "A queue delivers its messages in order.", () => curl("POST", "/v2/queues", '{"queueName":"orders","parallelism":1}')],
  schedules: ["No schedules", "A schedule publishes a message again and again.", () => curl("POST", `/v2/schedules/${HOOK}`, HELLO, ["Upstash-Cron: * * * * *"])],
  flow: ["No flow control", "A key limits how many messages go out together or in a time.",
    () => curl("POST", `/v2/publish/${HOOK}`, HELLO, ["Upstash-Flow-Control-Key: shop", "Upstash-Flow-Control-Value: parallelism=2, rate=10, period=1m"])],
  chaos: ["No chaos", "A rule makes deliveries go wrong on purpose: here every second message comes twice.",
    () => curl("POST", "/_surehook/chaos", '{"fault":"duplicate","share":0.5}')],
};

// What a person is told to paste must be in the words of the chosen user, so it is made when it is shown.
export function emptyNote(tab) {
  const [title, text, command] = EMPTY[tab];
  const line = command();
  return el("div", { class: "empty" }, el("h2", {}, title), el("p", {}, text), el("pre", { tabindex: "0" }, line), copyButton("Copy", () => line));
}

const PLACES = {
  topics: { of: (state) => state.topics, columns: ["Topic", "Endpoints", "Changed"], row: topicRow },
  queues: { of: (state) => state.queues, columns: ["Queue", "Waiting", "Parallel", "Condition"], row: queueRow },
  schedules: { of: (state) => state.schedules, columns: ["Schedule", "Cron", "Destination", "Next", "Condition"], row: scheduleRow },
  flow: { of: (state) => state.flowControl, columns: ["Key", "Waiting", "At once", "Rate", "Condition"], row: flowRow },
  chaos: { of: (state) => state.chaos, columns: ["Fault", "Where", "Share", "More"], row: chaosRow },
};

export const countIn = (tab, state) => (tab === "dead" ? state.dlq : PLACES[tab]?.of(state)?.length) ?? 0;

// On a phone a row becomes a card, and there each cell needs its column's name beside it.
function tableOf({ columns, row }, lines) {
  const head = el("thead", {}, el("tr", {}, columns.map((column) => el("th", { scope: "col" }, column))));
  const cells = (line) => row(line).map((cell, at) => el("td", { "data-column": columns[at] }, el("div", {}, cell)));
  return el("table", { class: "table" }, head, el("tbody", {}, lines.map((line) => el("tr", {}, cells(line)))));
}

export class Place {
  #element;
  #said;

  constructor(element) {
    this.#element = element;
  }

  // A table is made again only when something in it changed, since a person may be selecting from it.
  show(tab, state) {
    const lines = PLACES[tab].of(state) ?? [];
    const said = JSON.stringify([tab, user(), lines]);
    if (said !== this.#said) this.#element.replaceChildren(lines.length ? tableOf(PLACES[tab], lines) : emptyNote(tab));
    this.#said = said;
  }

  tick() {
    this.#element.querySelectorAll("time[data-time]").forEach(tickMoment);
  }
}
