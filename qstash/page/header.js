// The top of the page: the server's clock, the users, the counts that filter, the way to each place, and the state of the line.

import * as api from "./api.js";
import { countIn } from "./places.js";
import { TABS } from "./route.js";
import { FILTERS } from "./states.js";
import { el, number, setText, visible, visibleLine } from "./text.js";
import { clockMode, clockTime, serverNow } from "./time.js";

const at = (id) => document.getElementById(id);

const STEPS = [["Next event", { next: true }], ["+1 min", { advance: "1m" }], ["+1 h", { advance: "1h" }], ["+1 d", { advance: "1d" }]];

function stepButton([word, step], moved) {
  const button = el("button", { type: "button", class: "small" }, word);
  button.addEventListener("click", () => {
    setText(at("clock-told"), "");
    api.moveClock(step).then(moved, (error) => setText(at("clock-told"), visible(error.message)));
  });
  return button;
}

function filterButton([name, { word }], chosen) {
  const button = el("button", { type: "button", class: `count of-${name}`, "data-filter": name }, el("b", {}, "–"), el("span", {}, word));
  button.addEventListener("click", () => chosen(name));
  return button;
}

const tabLink = ([name, word]) => el("a", { "data-tab": name }, word, el("span", { class: "badge", hidden: true }));

export class Header {
  constructor({ moved, filtered, userChosen }) {
    at("clock-steps").append(...STEPS.map((step) => stepButton(step, moved)));
    at("counts").append(...Object.entries(FILTERS).map((filter) => filterButton(filter, filtered)));
    at("tabs").append(...Object.entries(TABS).map(tabLink));
    at("user").append(...[1, 2, 3, 4].map((user) => el("option", { value: user }, `User ${user}`)));
    at("user").addEventListener("change", () => userChosen(Number(at("user").value)));
  }

  show(state) {
    for (const button of at("counts").children) setText(button.firstChild, number(state.listed[button.dataset.filter]));
    for (const link of at("tabs").children) this.#badge(link, countIn(link.dataset.tab, state));
    state.users?.forEach(({ name }, index) => setText(at("user").options[index], visibleLine(name).slice(0, 40)));
    at("clock-steps").hidden = state.clock.mode !== "stepped";
    setText(at("clock-mode"), clockMode());
    this.tick();
  }

  #badge({ lastChild }, count) {
    setText(lastChild, number(count));
    lastChild.hidden = !count;
  }

  tick() {
    setText(at("clock-time"), clockTime(serverNow()));
  }

  // A place that lies outside of a phone's screen is scrolled into the strip, without moving the page.
  showRoute({ tab, user }, hrefOf, filter) {
    at("user").value = user;
    for (const link of at("tabs").children) {
      const here = link.dataset.tab === tab;
      link.setAttribute("href", hrefOf(link.dataset.tab));
      if (here && !link.hasAttribute("aria-current")) at("tabs").scrollTo({ left: link.offsetLeft - 60 });
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    this.showFilter(tab === "messages" ? filter : undefined);
  }

  showFilter(filter) {
    for (const button of at("counts").children) button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
  }

  showLink(word, tone) {
    setText(at("link"), word);
    at("link").className = `link ${tone}`;
  }
}
