// The page's course: it reads the state, follows the live stream, and brings list, places and the opened message together.

import * as api from "./api.js";
import { Detail } from "./detail.js";
import { Feed, matches } from "./feed.js";
import { Header } from "./header.js";
import { ROWS, Rows } from "./list.js";
import { Place, emptyNote } from "./places.js";
import { linkTo, readRoute } from "./route.js";
import { FILTERS } from "./states.js";
import { number, plural, setText } from "./text.js";
import { clockTime, setClock } from "./time.js";

const STATE_EVERY = 2000;
const STATE_AFTER_NEWS = 400;
const DRAW_GAP = 80;

const at = (id) => document.getElementById(id);

const feed = new Feed();
const scroller = at("scroll");
const lists = { messages: new Rows(at("rows"), scroller), dead: new Rows(at("dead"), scroller) };
const place = new Place(at("others"));
const header = new Header({ moved: news, filtered: chooseFilter, userChosen: (user) => go({ user, message: undefined }) });
const detail = new Detail(at("panel"), { close: closeMessage, hrefOf: messageLink, acted: news });
const live = new api.Live({ opened, heard, lost, lagged: () => loadMessages() });

let route = readRoute();
let state;
let dead = [];
let filter = "all";
let words = [];
let paused = false;
let release = true;
let loaded = { messages: false, dead: false };
let lostAt;

function messageLink(message) {
  return linkTo({ ...route, message });
}

function go(changes) {
  location.hash = linkTo({ ...route, ...changes });
}

// Closing takes the message's place in the history, so that the back button does not open it again.
function closeMessage() {
  const closed = route.message;
  location.replace(linkTo({ ...route, message: undefined }));
  requestAnimationFrame(() => lists[route.tab]?.focus(closed));
}

// ---- The server's news ----

let stateTimer;

async function readState() {
  clearTimeout(stateTimer);
  const user = route.user;
  const read = await api.readState().catch(() => undefined);
  clearTimeout(stateTimer);
  stateTimer = setTimeout(readState, STATE_EVERY);
  if (read && user === route.user) takeState(read);
}

function takeState(read) {
  const deadChanged = read.dlq !== state?.dlq || read.counts.failed !== state?.counts.failed;
  state = read;
  api.speakAs(route.user, read.users?.[route.user - 1]?.token);
  setClock(read.clock);
  header.show(read);
  if (deadChanged || !loaded.dead) loadDead();
  draw();
}

// Many messages move in a moment, and one reading of the counts serves them all.
let newsTimer;
function news() {
  newsTimer ??= setTimeout(() => {
    newsTimer = undefined;
    readState();
  }, STATE_AFTER_NEWS);
}

async function loadMessages(restarted = false) {
  const [user, asked] = [route.user, feed.mark()];
  const list = await api.readMessages().catch(() => undefined);
  if (!list || user !== route.user) return;
  feed.load(list, asked, restarted);
  loaded.messages = true;
  release = true;
  draw();
}

async function loadDead() {
  const user = route.user;
  const list = await api.readDead().catch(() => undefined);
  if (!list || user !== route.user) return;
  dead = list;
  loaded.dead = true;
  draw();
}

function heard(summary) {
  feed.put(summary);
  detail.heard(summary);
  news();
  draw();
}

function opened() {
  header.showLink(lostAt ? `Live again since ${clockTime(Date.now())}` : "Live", "is-live");
  if (lostAt) detail.reload();
  loadMessages(Boolean(lostAt));
  loaded.dead = false;
  lostAt = undefined;
  readState();
}

function lost() {
  lostAt ??= Date.now();
  header.showLink(`Server away since ${clockTime(lostAt)}, trying again`, "is-lost");
}

// ---- Drawing, at most once a frame and never for longer than a third of the time ----

let drawing = false;
let nextDraw = 0;

function draw() {
  if (drawing) return;
  drawing = true;
  setTimeout(() => requestAnimationFrame(drawNow), Math.max(0, nextDraw - performance.now()));
}

function drawNow() {
  const began = performance.now();
  drawing = false;
  const shown = { messages: drawMessages, dead: drawDead }[route.tab] ?? drawPlace;
  shown();
  const took = performance.now() - began;
  nextDraw = began + Math.max(DRAW_GAP, took * 3);
}

function drawMessages() {
  const all = feed.sorted();
  const found = all.filter((summary) => FILTERS[filter].takes(summary) && matches(summary, words));
  const total = filter === "all" && !words.length ? "" : ` of the newest ${number(all.length)}`;
  drawRows("messages", found, `${plural(Math.min(found.length, ROWS), "message")}${total}`);
  showEmpty(loaded.messages && !found.length && (all.length ? "nothing" : "messages"));
}

function drawDead() {
  const found = dead.filter((summary) => matches(summary, words));
  drawRows("dead", found, plural(found.length, "dead letter"));
  showEmpty(loaded.dead && !found.length && (dead.length ? "nothing" : "dead"));
}

function drawRows(tab, found, said) {
  const held = !release && (paused || lists[tab].held);
  release = false;
  const waiting = lists[tab].show(found, { open: route.message, hrefOf: messageLink, held });
  at("more").hidden = !waiting;
  setText(at("more"), waiting < ROWS ? `Show ${plural(waiting, "new message")}` : `Show the newest ${ROWS}`);
  setText(at("shown"), said);
}

function drawPlace() {
  showEmpty(false);
  if (state) place.show(route.tab, state);
}

let emptyShown;
function showEmpty(kind) {
  const key = kind ? `${kind} ${route.user} ${api.token()}` : "";
  at("empty").hidden = !kind;
  if (key === emptyShown) return;
  emptyShown = key;
  if (kind === "nothing") setText(at("empty"), "Nothing matches.");
  else at("empty").replaceChildren(...(kind ? [emptyNote(kind)] : []));
}

// ---- The person's choices ----

function chooseFilter(name) {
  filter = name;
  if (route.tab !== "messages") go({ tab: "messages" });
  header.showFilter(name);
  redraw();
}

function redraw() {
  release = true;
  scroller.scrollTop = 0;
  draw();
}

function showPaused(now) {
  paused = now;
  at("pause").setAttribute("aria-pressed", String(now));
  setText(at("pause"), now ? "Paused" : "Pause");
}

function showRoute() {
  const before = route;
  route = readRoute();
  header.showRoute(route, (tab) => linkTo({ user: route.user, tab }), filter);
  if (before.user !== route.user) changeUser();
  if (before.tab !== route.tab) redraw();
  document.body.classList.toggle("has-message", Boolean(route.message));
  showTab();
  detail.open(route.message, feed.get(route.message) ?? dead.find(({ messageId }) => messageId === route.message));
  draw();
}

function showTab() {
  const listed = route.tab in lists;
  for (const id of ["toolbar", "columns"]) at(id).hidden = !listed;
  at("rows").hidden = route.tab !== "messages";
  at("dead").hidden = route.tab !== "dead";
  at("others").hidden = listed;
  at("pause").hidden = route.tab !== "messages";
  if (!listed) at("more").hidden = true;
}

function changeUser() {
  api.speakAs(route.user);
  feed.clear();
  [dead, state, loaded] = [[], undefined, { messages: false, dead: false }];
  release = true;
  live.open();
}

function tick() {
  header.tick();
  lists[route.tab]?.tick();
  place.tick();
  detail.tick();
}

function listen() {
  addEventListener("hashchange", showRoute);
  addEventListener("keydown", (event) => event.key === "Escape" && route.message && closeMessage());
  at("search").addEventListener("input", (event) => {
    words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    redraw();
  });
  at("pause").addEventListener("click", () => (showPaused(!paused), paused || redraw()));
  at("more").addEventListener("click", redraw);
  scroller.addEventListener("scroll", () => scroller.scrollTop <= 8 && draw(), { passive: true });
  document.querySelector(".skip").addEventListener("click", (event) => (event.preventDefault(), at("place").focus()));
  setInterval(tick, 500);
}

function begin() {
  api.speakAs(route.user);
  listen();
  showRoute();
  readState();
  live.open();
}

begin();
