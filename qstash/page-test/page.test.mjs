// Drives the page of a running `surehook qstash`, whose clock must not stand still, in a real browser: npm install, then npm test.
// QSTASH_URL says where the server is, SCREENSHOTS where pictures go, CHROMIUM which browser is used.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { chromium } from "playwright-core";
import { Server, line, receiver } from "./server.mjs";
import * as hostile from "./hostile.mjs";

const URL_OF_SERVER = process.env.QSTASH_URL ?? "http://127.0.0.1:8080";
const SHOTS = process.env.SCREENSHOTS ?? fileURLToPath(new URL("screenshots", import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE = 20_000;
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const WIDE = { width: 1440, height: 900 };
const PHONE = { width: 360, height: 740 };

const server = new Server(URL_OF_SERVER);
const made = {};
let browser, page, shop;

// Whatever the page complains about ends the test, together with what a hostile text would do if it were executed.
function watch(watched) {
  const seen = [];
  watched.on("console", (said) => said.type() === "error" && seen.push(`console: ${said.text()}`));
  watched.on("pageerror", (error) => seen.push(`error: ${error.message}`));
  watched.on("dialog", (dialog) => (seen.push(`dialog: ${dialog.message()}`), dialog.dismiss()));
  watched.on("request", (request) => request.url().startsWith("data:") || new URL(request.url()).host === new URL(watched.url()).host
    || watched.url() === "about:blank" || seen.push(`foreign request: ${request.url()}`));
  watched.addInitScript(() => addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective}`)));
  return seen;
}

async function newPage(viewport, more = {}) {
  const context = await browser.newContext({ viewport, ...more });
  context.setDefaultTimeout(PATIENCE);
  const opened = await context.newPage();
  opened.seen = watch(opened);
  return opened;
}

async function assertHarmless(watched) {
  assert.deepEqual(watched.seen, [], "the page complained or something hostile happened");
  assert.equal(await watched.evaluate(() => window.pwned), undefined, "a hostile text was executed");
  assert.equal(await watched.locator("body :is(img, iframe, object, embed, form, base, marquee), body script").count(), 0, "a hostile text became an element");
  assert.equal(await watched.locator("a:not([href^='#'])").count(), 0, "a link leads out of the page");
}

const row = (id, on = page) => on.locator(`.rows:not([hidden]) a.row[href$="msg=${id}"]`);
const rowIn = (id, word, on = page) => row(id, on).filter({ has: on.locator(".state", { hasText: word }) });
const panel = (on = page) => on.locator("#panel");
const button = (word, on = page) => panel(on).getByRole("button", { name: word, exact: true });
const tab = (word, on = page) => on.locator("#tabs a", { hasText: word });
const shot = (name, on = page) => on.screenshot({ path: `${SHOTS}/${name}.png` });

async function openMessage(id, on = page) {
  await row(id, on).click();
  await panel(on).locator("code", { hasText: id }).first().waitFor();
}

async function assertText(locator, text, message) {
  const shown = await locator.textContent();
  assert.ok(shown.includes(text), `${message}: ${JSON.stringify(text)} is not in ${JSON.stringify(shown.slice(0, 300))}`);
}

async function assertNoSideways(on) {
  const wide = await on.evaluate(() => [...document.querySelectorAll("html, body, .stage, .place, .scroll, .panel, .sheet, .bar")]
    .filter((element) => element.scrollWidth > Math.ceil(element.clientWidth) && element.clientWidth > 0)
    .map((element) => `${element.tagName}.${element.className} ${element.scrollWidth} > ${element.clientWidth}`));
  assert.deepEqual(wide, [], "something scrolls sideways");
}

// ---- The checks, in the order of a person's visit ----

const CHECKS = {
  async "the page is served under a strict policy and goes live"() {
    const answer = await page.goto(server.url);
    const policy = answer.headers()["content-security-policy"] ?? "";
    for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'"]) assert.ok(policy.includes(rule), `the policy lacks ${rule}: ${policy}`);
    assert.ok(!policy.includes("unsafe"), `the policy allows what is unsafe: ${policy}`);
    await page.locator("#link", { hasText: "Live" }).waitFor();
  },

  async "a message appears without a reload and moves to delivered"() {
    await page.evaluate(() => (window.sameDocument = true));
    made.good = await server.publish(`${shop.url}/orders/created`, { "Upstash-Label": "order-1001", body: hostile.ORDER });
    await rowIn(made.good, "Delivered").waitFor();
    assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was loaded again");
    await assertText(row(made.good).locator(".attempts"), "1 of 4", "the attempts");
    await assertText(row(made.good).locator(".answer"), "200", "the answer");
    await assertText(row(made.good).locator(".url b"), new URL(shop.url).host, "the emphasised host");
  },

  async "hostile labels, headers, paths and bodies are shown as text"() {
    made.markup = await server.publish(`${shop.url}${hostile.PATH}`, { body: hostile.MARKUP, ...hostile.HEADERS });
    await rowIn(made.markup, "Delivered").waitFor();
    await assertText(row(made.markup), hostile.LABEL, "the label");
    await openMessage(made.markup);
    await panel().locator("pre", { hasText: "onerror" }).first().waitFor();
    await assertText(panel().locator(".part", { hasText: "Request" }).locator("pre").first(), "</script><script>window.pwned", "the body");
    await panel().locator("summary", { hasText: "Headers" }).last().click();
    await assertText(panel().locator(".headers").last(), hostile.HEADER, "the header");
    await assertHarmless(page);
  },

  async "text that would turn other text around is shown by its code"() {
    made.turned = await server.publish(`${shop.url}/orders/turned`, { body: `invoice\u202Efdp.exe` });
    await rowIn(made.turned, "Delivered").waitFor();
    await openMessage(made.turned);
    await panel().locator("pre", { hasText: "invoice\\u202efdp.exe" }).waitFor();
    assert.ok(!(await page.locator("body").textContent()).includes("\u202E"), "an override character is in the page");
  },

  async "a large body is cut with a note, JSON is indented, binary is dumped"() {
    made.large = await server.publish(`${shop.url}/import`, { body: hostile.LARGE, "Content-Type": "text/plain" });
    made.binary = await server.publish(`${shop.url}/upload`, { body: hostile.BINARY, "Content-Type": "application/octet-stream" });
    await rowIn(made.binary, "Delivered").waitFor();
    await openMessage(made.large);
    await panel().locator(".note", { hasText: "Only the first 64.0 KB of 200.0 KB" }).waitFor();
    assert.equal((await panel().locator(".part", { hasText: "Request" }).locator("pre").textContent()).length, 64 * 1024);
    await openMessage(made.good);
    await panel().locator("pre", { hasText: '  "order": 1001' }).waitFor();
    await openMessage(made.binary);
    await panel().locator("pre.hex", { hasText: "000000  00 ff fe 3c 69 6d 67 3e" }).waitFor();
  },

  async "Try now makes the next attempt, and the last failure is a dead letter with its reason"() {
    shop.answer("/orders/refused", { status: 500, body: hostile.ANSWER, headers: { "X-Reason": "<img src=x onerror=window.pwned=1>" } });
    made.bad = await server.publish(`${shop.url}/orders/refused`, { "Upstash-Retries": "1", "Upstash-Retry-Delay": "3600000", "Upstash-Label": "order-1002" });
    await rowIn(made.bad, /Retrying|Error/).waitFor();
    await row(made.bad).locator(".next", { hasText: /^in (1 h|5\d min)/ }).waitFor();
    await openMessage(made.bad);
    await button("Try now").click();
    await rowIn(made.bad, "Failed").waitFor();
    await panel().locator(".timeline .headline", { hasText: "Attempt 2" }).waitFor();
    assert.equal(await panel().locator(".timeline .headline", { hasText: /Attempt \d/ }).count(), 2, "the attempts in the timeline");
    await assertText(panel().locator(".timeline pre").last(), hostile.ANSWER, "the answer's body");
    await shot("detail");
    await tab("Dead letters").click();
    await rowIn(made.bad, "Failed").waitFor();
    await assertText(row(made.bad).locator(".answer"), "500", "the answer of a dead letter");
    assert.match(await row(made.bad).locator(".reason").textContent(), /\S/, "a dead letter has no reason");
    await assertHarmless(page);
  },

  async "Delete asks twice and forgets a dead letter"() {
    made.worse = await server.publish(`${shop.url}/orders/refused`, { "Upstash-Retries": "0", "Upstash-Label": "order-1003" });
    await row(made.worse).waitFor();
    await shot("dead-letters");
    await openMessage(made.worse);
    await button("Delete").click();
    assert.equal(await row(made.worse).count(), 1, "the first click deletes already");
    await button("Delete for good?").click();
    await row(made.worse).waitFor({ state: "detached" });
  },

  async "Retry sends a dead letter again, as a message that is delivered"() {
    shop.answer("/orders/refused", { status: 200 });
    await openMessage(made.bad);
    await button("Retry").click();
    await row(made.bad).waitFor({ state: "detached" });
    await tab("Messages").click();
    const again = page.locator("#rows a.row", { hasText: "/orders/refused" }).filter({ has: page.locator(".state", { hasText: "Delivered" }) });
    await again.first().waitFor();
  },

  async "a failed message that was retried offers no second Retry"() {
    await page.goto(`${server.url}/#msg=${made.bad}`);
    await panel().locator(".head .state", { hasText: "Failed" }).waitFor();
    await button("Retry").waitFor({ state: "detached" });
    assert.equal(await button("Delete").count(), 0, "there is nothing left to delete");
    await page.keyboard.press("Escape");
  },

  async "an open message loses Retry when its entry leaves the dead-letter queue elsewhere"() {
    shop.answer("/orders/elsewhere", { status: 500 });
    const id = await server.publish(`${shop.url}/orders/elsewhere`, { "Upstash-Retries": "0" });
    await rowIn(id, "Failed").waitFor();
    await openMessage(id);
    await button("Retry").waitFor();
    await server.deleteDead(id);
    await button("Retry").waitFor({ state: "detached" });
    await page.keyboard.press("Escape");
  },

  async "Cancel stops a message that waits"() {
    made.waiting = await server.publish(`${shop.url}/orders/later`, { "Upstash-Delay": "2h", "Upstash-Label": "order-1004" });
    await rowIn(made.waiting, "Created").waitFor();
    await openMessage(made.waiting);
    await panel().locator(".upcoming", { hasText: /in (2 h|1 h 59 min)/ }).waitFor();
    await button("Cancel").click();
    await rowIn(made.waiting, "Cancel").waitFor();
    await panel().locator(".head .state", { hasText: "Cancel" }).waitFor();
  },

  async "the filters and the search choose rows"() {
    await page.locator("[data-filter=cancelled]").click();
    await row(made.good).waitFor({ state: "detached" });
    await row(made.waiting).waitFor();
    await page.locator("[data-filter=all]").click();
    await page.locator("#search").fill("order-1001");
    await row(made.good).waitFor();
    await row(made.turned).waitFor({ state: "detached" });
    await page.locator("#search").fill("");
  },

  async "links lead to a message, the back button and Escape lead out, the keyboard walks"() {
    await page.goto(`${server.url}/#msg=${made.good}`);
    await panel().locator(".timeline .state", { hasText: "Delivered" }).waitFor();
    await page.keyboard.press("Escape");
    await panel().waitFor({ state: "hidden" });
    await row(made.turned).focus();
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await panel().locator("code", { hasText: made.turned }).waitFor();
    await page.goBack();
    await panel().waitFor({ state: "hidden" });
  },

  async "rows that arrive do not move what a person reads"() {
    shop.answer("/stock/refused", { status: 503, body: "closed for stocktaking" });
    for (let at = 0; at < 30; at += 1) made.last = await server.publish(...stockMessage(at));
    await row(made.last).waitFor();
    await page.locator(".rows .state", { hasText: "Active" }).first().waitFor({ state: "detached" });
    await shot("list");
    await page.locator("#scroll").evaluate((element) => (element.scrollTop = 400));
    const before = await row(made.good).evaluate((element) => element.getBoundingClientRect().top);
    const late = await server.publish(`${shop.url}/stock/late`);
    await page.locator("#more", { hasText: "new message" }).waitFor();
    assert.equal(await row(made.good).evaluate((element) => element.getBoundingClientRect().top), before, "the rows moved");
    await page.locator("#more").click();
    await row(late).waitFor();
  },

  async "ages are true to the times that are shown"() {
    const fast = await newPage(WIDE);
    const state = (read) => ({ ...read, clock: { ...read.clock, mode: "speed", speed: 600, shownSpeed: 1 } });
    await fast.route("**/_surehook/state*", async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, json: state(await answer.json()) });
    });
    await fast.goto(server.url);
    await fast.locator("#clock-mode", { hasText: "600" }).waitFor();
    const shown = async () => (await fast.locator("#clock-time").textContent()).split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
    const [from, began] = [await shown(), Date.now()];
    await fast.waitForTimeout(1500);
    const [passed, real] = [await shown() - from, (Date.now() - began) / 1000];
    assert.ok(passed <= real + 2, `the clock went ${passed} s ahead in ${real} s`);
  },

  async "every place opens, and an empty one says how to fill it"() {
    await page.goto(`${server.url}/#user=4`);
    for (const word of ["Dead letters", "Topics", "Queues", "Schedules", "Flow control", "Chaos", "Messages"]) {
      await tab(word).click();
      await page.locator(".empty pre, table, .rows:not([hidden]) li").filter({ visible: true }).first().waitFor();
    }
    await assertHarmless(page);
  },

  async "on a phone nothing scrolls sideways"() {
    const phone = await newPage(PHONE, { hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
    await phone.goto(server.url);
    await row(made.good, phone).waitFor();
    await assertNoSideways(phone);
    await shot("phone-list", phone);
    await openMessage(made.bad, phone);
    await panel(phone).locator(".timeline li").first().waitFor();
    await assertNoSideways(phone);
    await shot("phone-detail", phone);
    for (const id of [made.markup, made.large, made.binary]) await assertFits(phone, id);
    await button("Close the message", phone).click();
    await row(made.good, phone).waitFor();
    await assertHarmless(phone);
  },

  async "the dark scheme is used where it is preferred"() {
    const dark = await newPage(WIDE, { colorScheme: "dark" });
    await dark.goto(`${server.url}/#msg=${made.bad}`);
    await panel(dark).locator(".timeline li").first().waitFor();
    await row(made.good, dark).waitFor();
    const [red] = (await dark.evaluate(() => getComputedStyle(document.body).backgroundColor)).match(/\d+/g).map(Number);
    assert.ok(red < 60, `the ground is not dark: ${red}`);
    await shot("dark", dark);
    await assertHarmless(dark);
  },

  async "a message that nobody knows is said to be unknown"() {
    const lost = await newPage(WIDE);
    await lost.goto(`${server.url}/#msg=msg_nobody`);
    await panel(lost).locator(".gone", { hasText: "no longer knows" }).waitFor();
  },

  async "a lost server is told, and the page is live again when it is back"() {
    const wire = await line(server.url);
    const cut = await newPage(WIDE);
    await cut.goto(wire.url);
    await row(made.good, cut).waitFor();
    wire.cut();
    await cut.locator("#link", { hasText: "Server away" }).waitFor();
    await wire.mend();
    await cut.locator("#link", { hasText: "Live again" }).waitFor();
    const late = await server.publish(`${shop.url}/orders/after`);
    await rowIn(late, "Delivered", cut).waitFor();
    assert.equal(await cut.evaluate(() => window.pwned), undefined, "a hostile text was executed");
    wire.cut();
  },

  async "older messages are reached, and the counters, the list and the search agree"() {
    for (let at = 0; at < 320; at += 1) await server.publish(`${shop.url}/bulk/${at}`);
    const counter = async (name) => Number((await page.locator(`[data-filter=${name}] b`).textContent()).replace(/\D/g, ""));
    await page.goto(server.url);
    await page.locator("#older:not([hidden])", { hasText: "Show older messages" }).waitFor();
    while (await page.locator("#older").isVisible()) {
      const before = await page.locator("#rows li").count();
      await page.locator("#older").click();
      await page.waitForFunction((count) => document.querySelectorAll("#rows li").length > count, before);
    }
    await row(made.good).waitFor();
    assert.equal(await page.locator("#rows li").count(), await counter("all"), "the list is not what the counter says");
    await page.locator("#search").fill("/bulk/");
    await page.locator("#shown", { hasText: "300 of 320 messages" }).waitFor();
    await page.locator("#search").fill("order-1001");
    await row(made.good).waitFor();
    await page.locator("#search").fill("");
  },
};

// A list in which something of everything happens.
function stockMessage(at) {
  const later = { "Upstash-Retries": "2", "Upstash-Retry-Delay": "3600000" };
  if (at % 7 === 5) return [`${shop.url}/stock/refused?item=${at}`, { ...later, "Upstash-Label": `item-${at}` }];
  if (at % 9 === 6) return [`${shop.url}/stock/later/${at}`, { "Upstash-Delay": `${at}m`, "Upstash-Label": `item-${at}` }];
  return [`${shop.url}/stock/${at}?warehouse=north&revision=${at * 17}`, at % 2 ? { "Upstash-Label": `item-${at}` } : {}];
}

async function assertFits(phone, id) {
  await phone.goto(`${server.url}/#msg=${id}`);
  await panel(phone).locator("code", { hasText: id }).first().waitFor();
  await panel(phone).locator(".timeline li").first().waitFor();
  await assertNoSideways(phone);
}

async function run() {
  mkdirSync(SHOTS, { recursive: true });
  await server.begin();
  shop = await receiver();
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
  page = await newPage(WIDE);
  for (const [name, check] of Object.entries(CHECKS)) {
    await check().catch((error) => Promise.reject(Object.assign(error, { check: name })));
    console.log(`ok    ${name}`);
  }
  await assertHarmless(page);
}

async function failed(error) {
  process.exitCode = 1;
  console.error(`FAILED  ${error.check ?? "the test could not begin"}\n${stripVTControlCharacters(error.message)}`);
  if (page) await shot("failed").catch(() => {});
  if (page?.seen.length) console.error(page.seen.join("\n"));
}

await run().catch(failed);
await browser?.close();
shop?.close();
