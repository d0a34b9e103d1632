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
let dead = new Map();
let filter = "all";
let search = "";
let words = [];
// What the server says of the filter and the search: how many messages there are, and where the older ones begin.
let found = { total: 0, next: undefined };
let foundDead = { total: 0, next: undefined };
let most = ROWS;
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
  feed.forget(read.oldest);
  if (deadChanged || !loaded.dead) loadDead();
  // Its entry may have left the dead-letter queue.
  if (deadChanged) detail.reload();
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

const choice = () => JSON.stringify([route.user, filter, search]);

async function loadMessages(restarted = false) {
  const [chosen, asked, isAll] = [choice(), feed.mark(), filter === "all" && !search];
  const read = await api.readRows("messages", { state: filter, search }).catch(() => undefined);
  if (!read || chosen !== choice()) return;
  // Only a list of everything says that a message is gone.
  if (isAll) feed.load(read.messages, asked, { restarted, more: read.next });
  else feed.add(read.messages);
  found = { total: read.total, next: read.next };
  loaded.messages = true;
  // A person who has scrolled since then keeps the place; one who has paused the list sees what was asked for.
  if (restarted || paused) release = true;
  draw();
}

async function loadOlder() {
  const chosen = choice();
  const read = await api.readRows("messages", { state: filter, search, after: found.next }).catch(() => undefined);
  if (!read || chosen !== choice()) return;
  feed.add(read.messages);
  found = { total: read.total, next: read.next };
  most += read.messages.length;
  draw();
}

// Older dead letters that were read stay, and are gone when the choice changes.
async function loadDead({ after, fresh } = {}) {
  const chosen = choice();
  const read = await api.readRows("dlq", { search, after }).catch(() => undefined);
  if (!read || chosen !== choice()) return;
  const oldest = read.next && !fresh ? read.messages.at(-1).updatedAt : -Infinity;
  if (!after) for (const [id, { updatedAt }] of dead) if (updatedAt >= oldest) dead.delete(id);
  foundDead = { total: read.total, next: !after && dead.size ? foundDead.next : read.next };
  for (const summary of read.messages) dead.set(summary.dlqId, summary);
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
  const taken = feed.sorted().filter((summary) => FILTERS[filter].takes(summary) && matches(summary, words));
  const shown = Math.min(taken.length, most);
  const total = Math.max(search ? found.total : (state?.listed[filter] ?? 0), shown);
  drawRows("messages", taken, most, shown < total ? `${number(shown)} of ${plural(total, "message")}` : plural(total, "message"));
  at("older").hidden = shown >= total || (!found.next && taken.length <= most);
  setText(at("older"), `Show older messages (${number(total - shown)} more)`);
  showEmpty(loaded.messages && !taken.length && (state?.listed.all ? "nothing" : "messages"));
}

function drawDead() {
  const newestFirst = (one, other) => other.updatedAt - one.updatedAt;
  const taken = [...dead.values()].filter((summary) => matches(summary, words)).sort(newestFirst);
  const [shown, total] = [taken.length, Math.max(foundDead.total, taken.length)];
  drawRows("dead", taken, shown, shown < total ? `the newest ${number(shown)} of ${plural(total, "dead letter")}` : plural(total, "dead letter"));
  at("older").hidden = !foundDead.next;
  setText(at("older"), `Show older dead letters (${number(total - shown)} more)`);
  showEmpty(loaded.dead && !taken.length && (state?.dlq ? "nothing" : "dead"));
}

function drawRows(tab, taken, atMost, said) {
  const held = !release && (paused || lists[tab].held);
  release = false;
  const waiting = lists[tab].show(taken, { open: route.message, hrefOf: messageLink, held, most: atMost });
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
  choose();
}

// Other rows are asked for, and those that are known already are shown at once.
function choose() {
  redraw();
  readChosen();
}

function readChosen() {
  most = ROWS;
  found = { total: 0, next: undefined };
  loadMessages();
  loadDead({ fresh: true });
}

// A person's typing is not sent letter by letter.
let searchTimer;
function chooseSearch(text) {
  search = text.trim();
  words = search.toLowerCase().split(/\s+/).filter(Boolean);
  redraw();
  clearTimeout(searchTimer);
  searchTimer = setTimeout(readChosen, STATE_AFTER_NEWS);
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
  detail.open(route.message, feed.get(route.message) ?? [...dead.values()].find(({ messageId }) => messageId === route.message));
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
  if (!listed) at("older").hidden = true;
}

function changeUser() {
  api.speakAs(route.user);
  feed.clear();
  found = { total: 0, next: undefined };
  most = ROWS;
  dead.clear();
  [state, loaded] = [undefined, { messages: false, dead: false }];
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
  at("search").addEventListener("input", (event) => chooseSearch(event.target.value));
  at("older").addEventListener("click", () => (route.tab === "dead" ? loadDead({ after: foundDead.next }) : loadOlder()));
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
