// Logs: states, filters and pages.

import assert from "node:assert/strict";
import { test } from "./runner.mjs";

const states = (logs) => logs.map(({ state }) => state);

async function pages(client, options) {
  const seen = [];
  let cursor;
  do {
    const page = await client.logs({ ...options, cursor });
    seen.push(page.logs);
    cursor = page.cursor;
  } while (cursor);
  return seen;
}

test("logs: the way of a message that is delivered", async ({ server, receiver, client }) => {
  const { messageId } = await client.publish({ url: receiver.url("/in") });
  await server.settle();
  assert.deepEqual(states((await client.logs({ filter: { messageId } })).logs), ["DELIVERED", "ACTIVE", "CREATED"]);
});

test("logs: the way of a message that fails", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 500, body: "broken", headers: { "X-Why": "so" } });
  const { messageId } = await client.publish({ url: receiver.url("/in"), retries: 1, retryDelay: "1000" });
  await server.advance("1m");
  const { logs } = await client.logs({ filter: { messageId } });
  assert.deepEqual(states(logs), ["FAILED", "ERROR", "ACTIVE", "RETRY", "ERROR", "ACTIVE", "CREATED"]);
  const [failed, , , retry] = logs;
  assert.deepEqual(
    [failed.responseStatus, failed.responseHeaders["X-Why"], Buffer.from(failed.responseBody, "base64").toString()],
    [500, ["so"], "broken"],
  );
  assert.equal(retry.nextDeliveryTime - retry.time, 1_000);
});

test("logs: an entry says what the message was", async ({ server, receiver, client }) => {
  const options = { method: "PUT", body: "b", headers: { "X-A": "1" }, label: ["l", "m"], retries: 2, callback: receiver.url("/cb") };
  const { messageId } = await client.publish({ url: receiver.url("/in"), ...options });
  const [entry] = (await client.logs({ filter: { messageId, state: "CREATED" } })).logs;
  assert.deepEqual([entry.messageId, entry.url, entry.method, entry.header["X-A"]], [messageId, receiver.url("/in"), "PUT", ["1"]]);
  assert.deepEqual(
    [atob(entry.body), entry.label, entry.labels, entry.maxRetries, entry.callback],
    ["b", "l", ["l", "m"], 2, receiver.url("/cb")],
  );
  assert.equal(entry.time, await server.now());
});

test("logs: the old name of the call answers the same", async ({ server, receiver, client }) => {
  await client.publish({ url: receiver.url("/in") });
  await server.settle();
  const [{ events }, { logs }] = [await client.events(), await client.logs()];
  assert.deepEqual([events.length, events], [3, logs]);
});

test("logs: every page has as many entries as are asked for, and none comes twice", async ({ server, receiver, client }) => {
  await client.batch(Array.from({ length: 100 }, () => ({ url: receiver.url("/in") })));
  await server.settle();
  const seen = await pages(client, { count: 70 });
  assert.deepEqual(
    seen.map(({ length }) => length),
    [70, 70, 70, 70, 20],
  );
  assert.equal(new Set(seen.flat().map(({ messageId, state }) => messageId + state)).size, 300);
  assert.deepEqual(
    (await pages(client, {})).map(({ length }) => length),
    [100, 100, 100],
    "a hundred, unless more are asked for",
  );
  assert.equal((await client.logs({ count: 1_000 })).logs.length, 300);
});

test("logs: the loop from the SDK's documentation, which begins with the time, sees everything", async ({ server, receiver, client }) => {
  await client.batch(Array.from({ length: 50 }, () => ({ url: receiver.url("/in") })));
  await server.settle();
  const logs = [];
  let cursor = Date.now();
  while (cursor > 0) {
    const page = await client.logs({ cursor });
    logs.push(...page.logs);
    cursor = page.cursor ?? 0;
  }
  assert.equal(logs.length, 150);
});

// One message of each kind, all delivered but one.
async function kinds(server, receiver, client) {
  await client.urlGroups.addEndpoints({ name: "shop", endpoints: [{ url: receiver.url("/grouped") }] });
  receiver.answer("/failing", { status: 500 });
  const { messageId } = await client.publish({ url: receiver.url("/plain") });
  await client.publish({ urlGroup: "shop" });
  await client.publish({ url: receiver.url("/labelled"), label: ["a", "b"] });
  await client.publish({ url: receiver.url("/flowing"), flowControl: { key: "k", rate: 9 } });
  await client.publish({ url: receiver.url("/failing") });
  await client.queue({ queueName: "line" }).enqueue({ url: receiver.url("/queued") });
  await server.settle();
  const between = await server.now();
  await client.schedules.create({ destination: receiver.url("/scheduled"), cron: "* * * * *", scheduleId: "mine" });
  await server.call("POST", "/_surehook/clock", { to: (await client.schedules.get("mine")).nextScheduleTime });
  return { messageId, between };
}

const everything = ["/failing", "/flowing", "/grouped", "/labelled", "/plain", "/queued", "/scheduled"];
const filters = {
  messageId: [({ messageId }) => ({ messageId }), ["/plain"]],
  url: [({ receiver }) => ({ url: [receiver.url("/plain"), receiver.url("/queued")] }), ["/plain", "/queued"]],
  urlGroup: [() => ({ urlGroup: "shop" }), ["/grouped"]],
  topicName: [() => ({ topicName: "shop" }), ["/grouped"]],
  queueName: [() => ({ queueName: "line" }), ["/queued"]],
  scheduleId: [() => ({ scheduleId: "mine" }), ["/scheduled"]],
  label: [() => ({ label: ["b", "x"] }), ["/labelled"]],
  flowControlKey: [() => ({ flowControlKey: "k" }), ["/flowing"]],
  callerIp: [() => ({ callerIp: "10.1.1.1" }), []],
  host: [() => ({ host: "127.0.0.1" }), everything],
  path: [() => ({ path: ["/plain", "/failing"] }), ["/failing", "/plain"]],
  toDate: [({ between }) => ({ toDate: between, label: "a" }), ["/labelled"]],
  fromDate: [({ between }) => ({ fromDate: new Date(between + 1), scheduleId: "mine" }), ["/scheduled"]],
  "state: created": [() => ({ state: "CREATED" }), everything],
  "state: error": [() => ({ state: "ERROR" }), ["/failing"]],
  "state: retry": [() => ({ state: "RETRY" }), ["/failing"]],
  "state: in progress": [() => ({ state: "IN_PROGRESS" }), everything],
  "state: delivered, in a queue": [() => ({ state: "DELIVERED", queueName: "line" }), ["/queued"]],
  "the filter that QStash has removed": [() => ({ api: "llm", urlGroup: "shop" }), ["/grouped"]],
};

test("logs: every filter finds its own", async ({ server, receiver, client }) => {
  const made = { receiver, ...(await kinds(server, receiver, client)) };
  for (const [name, [filter, wanted]] of Object.entries(filters)) {
    const { logs } = await client.logs({ filter: filter(made) });
    assert.deepEqual([...new Set(logs.map(({ url }) => new URL(url).pathname))].sort(), wanted, name);
  }
});

test("logs: an entry names group, endpoint, queue and schedule", async ({ server, receiver, client }) => {
  await kinds(server, receiver, client);
  const first = async (filter) => (await client.logs({ filter })).logs[0];
  assert.equal((await first({ urlGroup: "shop" })).urlGroup, "shop");
  assert.equal((await first({ queueName: "line" })).queueName, "line");
  assert.equal((await first({ scheduleId: "mine" })).scheduleId, "mine");
});

test("logs: several messages by their ids, with a count in the filter as of old", async ({ server, receiver, client }) => {
  const answered = await client.batch(Array.from({ length: 3 }, () => ({ url: receiver.url("/in") })));
  await server.settle();
  const messageIds = answered.slice(0, 2).map(({ messageId }) => messageId);
  const { logs } = await client.logs({ messageIds });
  assert.deepEqual([logs.length, [...new Set(logs.map(({ messageId }) => messageId))].sort()], [6, messageIds.sort()]);
  assert.equal((await client.logs({ filter: { count: 4 } })).logs.length, 4);
});
