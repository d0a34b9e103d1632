// The dead-letter queue: pages, filters, deleting and retrying.

import assert from "node:assert/strict";
import { refused, test } from "./runner.mjs";

// Messages that failed for good, as many as are wanted.
async function fail(server, receiver, client, count, more = {}) {
  receiver.answer("/dead", { status: 500, body: "broken", headers: { "X-Why": "just so" } });
  const one = (number) => ({ url: receiver.url("/dead"), body: `${number}`, retries: 0, ...more });
  const answered = await client.batch(Array.from({ length: count }, (_, number) => one(number)));
  await server.settle();
  return answered.map(({ messageId }) => messageId);
}

async function pages(client, options) {
  const seen = [];
  let cursor;
  do {
    const page = await client.dlq.listMessages({ ...options, cursor });
    seen.push(page.messages);
    cursor = page.cursor;
  } while (cursor);
  return seen;
}

const bodies = (messages) => messages.map(({ body }) => Number(body));
const all = async (client) => (await pages(client, {})).flat();
const numbers = (count, from = 0) => Array.from({ length: count }, (_, number) => from + number);

test("dlq: a dead message is shown with the last answer", async ({ server, receiver, client }) => {
  const [messageId] = await fail(server, receiver, client, 1, { headers: { "X-A": "1" }, label: "l" });
  const [dead] = (await client.dlq.listMessages()).messages;
  assert.deepEqual([dead.messageId, dead.url, dead.method, dead.body, dead.maxRetries], [messageId, receiver.url("/dead"), "POST", "0", 0]);
  assert.deepEqual([dead.header["X-A"], dead.label, dead.callerIP], [["1"], "l", "127.0.0.1"]);
  assert.deepEqual([dead.responseStatus, dead.responseBody, dead.responseHeader["X-Why"]], [500, "broken", ["just so"]]);
  assert.match(dead.dlqId, /^\d+-\d+$/);
});

test("dlq: an answer that is not text is shown in base64, and none at all has the status 0", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 500, body: Buffer.from([255, 0]) });
  for (const url of [receiver.url("/in"), "http://127.0.0.1:1/nobody"]) await client.publish({ url, retries: 0 });
  await server.settle();
  const [binary, silent] = await all(client);
  assert.deepEqual([binary.responseBody, binary.responseBodyBase64], [undefined, "/wA="]);
  assert.deepEqual([silent.responseStatus, silent.responseBody], [0, undefined]);
});

test("dlq: pages have at most a hundred entries, and cursors lead through all of them once", async ({ server, receiver, client }) => {
  await fail(server, receiver, client, 250);
  const seen = await pages(client, {});
  assert.deepEqual(
    seen.map(({ length }) => length),
    [100, 100, 50],
  );
  assert.deepEqual(
    bodies(seen.flat()).sort((a, b) => a - b),
    numbers(250),
  );
  assert.equal(new Set(seen.flat().map(({ dlqId }) => dlqId)).size, 250);
});

test("dlq: a page is as long as is asked for", async ({ server, receiver, client }) => {
  await fail(server, receiver, client, 7);
  assert.deepEqual(
    (await pages(client, { count: 3 })).map(({ length }) => length),
    [3, 3, 1],
  );
  assert.deepEqual(
    (await pages(client, { count: 7 })).map(({ length }) => length),
    [7],
    "no cursor after the last page",
  );
});

// One dead message of each kind, a second apart.
async function kinds(server, receiver, client) {
  for (const path of ["/url", "/grouped", "/queued", "/labelled", "/flowing", "/scheduled"]) receiver.answer(path, { status: 500 });
  receiver.answer("/teapot", { status: 418 });
  await client.urlGroups.addEndpoints({ name: "shop", endpoints: [{ url: receiver.url("/grouped") }] });
  const { messageId } = await client.publish({ url: receiver.url("/url"), retries: 0 });
  await client.publish({ urlGroup: "shop", retries: 0 });
  await client.publish({ url: receiver.url("/labelled"), retries: 0, label: ["a", "b"] });
  await client.publish({ url: receiver.url("/flowing"), retries: 0, flowControl: { key: "k", rate: 9 } });
  await client.publish({ url: receiver.url("/teapot"), retries: 0 });
  await client.queue({ queueName: "line" }).enqueue({ url: receiver.url("/queued"), retries: 0 });
  await server.settle();
  const between = await server.now();
  await client.schedules.create({ destination: receiver.url("/scheduled"), cron: "0 * * * *", retries: 0, scheduleId: "mine" });
  await server.next();
  return { messageId, between };
}

const early = ["/flowing", "/grouped", "/labelled", "/queued", "/teapot", "/url"];
const filters = {
  messageId: [({ messageId }) => ({ messageId }), ["/url"]],
  url: [({ receiver }) => ({ url: [receiver.url("/url"), receiver.url("/queued")] }), ["/queued", "/url"]],
  urlGroup: [() => ({ urlGroup: "shop" }), ["/grouped"]],
  queueName: [() => ({ queueName: "line" }), ["/queued"]],
  scheduleId: [() => ({ scheduleId: "mine" }), ["/scheduled"]],
  label: [() => ({ label: "b" }), ["/labelled"]],
  flowControlKey: [() => ({ flowControlKey: "k" }), ["/flowing"]],
  responseStatus: [() => ({ responseStatus: [418, 404] }), ["/teapot"]],
  callerIp: [() => ({ callerIp: "10.1.1.1" }), []],
  toDate: [({ between }) => ({ toDate: new Date(between) }), early],
  fromDate: [({ between }) => ({ fromDate: between + 1 }), ["/scheduled"]],
  "several at once": [() => ({ label: "a", responseStatus: 418 }), []],
};

test("dlq: every filter finds its own", async ({ server, receiver, client }) => {
  const made = { receiver, ...(await kinds(server, receiver, client)) };
  for (const [name, [filter, wanted]] of Object.entries(filters)) {
    const { messages } = await client.dlq.listMessages({ filter: filter(made) });
    assert.deepEqual(messages.map(({ url }) => new URL(url).pathname).sort(), wanted, name);
  }
});

test("dlq: entries are found by their ids", async ({ server, receiver, client }) => {
  await fail(server, receiver, client, 4);
  const ids = (await all(client)).map(({ dlqId }) => dlqId);
  const { messages } = await client.dlq.listMessages({ dlqIds: [ids[1], ids[3], "1-9"] });
  assert.deepEqual(
    messages.map(({ dlqId }) => dlqId),
    [ids[1], ids[3]],
  );
  assert.equal((await client.dlq.listMessages({ dlqIds: ids[0] })).messages.length, 1);
});

test("dlq: entries are deleted, one and several", async ({ server, receiver, client }) => {
  await fail(server, receiver, client, 6);
  const ids = (await all(client)).map(({ dlqId }) => dlqId);
  assert.deepEqual(await client.dlq.delete(ids[0]), { deleted: 1 });
  assert.equal((await client.dlq.delete([ids[1], "1-9"])).deleted, 1, "unknown ids are passed over");
  assert.equal((await client.dlq.delete({ dlqIds: [ids[2]] })).deleted, 1);
  assert.equal((await client.dlq.deleteMany({ dlqIds: [ids[3]] })).deleted, 1);
  assert.deepEqual(await client.dlq.delete([]), { deleted: 0 });
  assert.deepEqual(
    (await all(client)).map(({ dlqId }) => dlqId),
    ids.slice(4),
  );
  await refused(client.dlq.delete(ids[0]), 404);
});

test("dlq: entries are deleted by filter, and the rest stays", async ({ server, receiver, client }) => {
  await kinds(server, receiver, client);
  assert.equal((await client.dlq.delete({ filter: { label: "a" } })).deleted, 1);
  assert.equal((await client.dlq.delete({ filter: { urlGroup: "shop" } })).deleted, 1);
  const paths = (await all(client)).map(({ url }) => new URL(url).pathname).sort();
  assert.deepEqual(paths, ["/flowing", "/queued", "/scheduled", "/teapot", "/url"]);
  await refused(client.dlq.delete({ filter: { lable: "a" } }), 400);
});

test("dlq: all are deleted, a page at a time", async ({ server, receiver, client }) => {
  await fail(server, receiver, client, 120);
  const seen = [];
  let cursor;
  do {
    const page = await client.dlq.delete({ all: true, count: 50, cursor });
    seen.push(page.deleted);
    cursor = page.cursor;
  } while (cursor);
  assert.deepEqual([seen, await all(client)], [[50, 50, 20], []]);
});

test("dlq: a retried entry is a new message, and the entry is gone", async ({ server, receiver, client }) => {
  const [old] = await fail(server, receiver, client, 1, { headers: { "X-A": "1" }, method: "PUT" });
  receiver.answer("/dead", { status: 200 });
  const [{ dlqId }] = await all(client);
  const { responses, cursor } = await client.dlq.retry(dlqId);
  await server.settle();
  assert.deepEqual([responses.length, responses[0].messageId === old, cursor], [1, false, undefined]);
  const { method, body, headers } = receiver.at("/dead").at(-1);
  assert.deepEqual(
    [method, body, headers["x-a"], headers["upstash-message-id"], headers["upstash-retried"]],
    ["PUT", "0", "1", responses[0].messageId, "0"],
  );
  assert.deepEqual(await all(client), []);
  await refused(client.dlq.retry(dlqId), 404);
});

test("dlq: several are retried by their ids, and by filter", async ({ server, receiver, client }) => {
  await fail(server, receiver, client, 4);
  await fail(server, receiver, client, 2, { label: "again" });
  receiver.answer("/dead", { status: 200 });
  const ids = (await all(client)).map(({ dlqId }) => dlqId);
  assert.equal((await client.dlq.retry([ids[0], ids[1]])).responses.length, 2);
  assert.equal((await client.dlq.retry({ dlqIds: ids[2] })).responses.length, 1);
  assert.equal((await client.dlq.retry({ filter: { label: "again" } })).responses.length, 2);
  assert.deepEqual(await client.dlq.retry([]), { responses: [] });
  await server.settle();
  assert.deepEqual([receiver.at("/dead").length, bodies(await all(client))], [6 + 5, [3]]);
});

test("dlq: all are retried, a page at a time", async ({ server, receiver, client }) => {
  await fail(server, receiver, client, 120);
  receiver.answer("/dead", { status: 200 });
  const seen = [];
  let cursor;
  do {
    const page = await client.dlq.retry({ all: true, count: 50, cursor });
    seen.push(page.responses.length);
    cursor = page.cursor;
  } while (cursor);
  await server.settle();
  assert.deepEqual([seen, await all(client), receiver.at("/dead").length], [[50, 50, 20], [], 240]);
});

test("dlq: an id that is named twice is retried once", async ({ server, receiver, client }) => {
  await fail(server, receiver, client, 1);
  receiver.answer("/dead", { status: 200 });
  const [{ dlqId }] = await all(client);
  assert.equal((await client.dlq.retry([dlqId, dlqId])).responses.length, 1);
  await server.settle();
  assert.deepEqual([receiver.at("/dead").length, await all(client)], [2, []]);
});

test("dlq: what fails again comes back under a new id", async ({ server, receiver, client }) => {
  await fail(server, receiver, client, 1);
  const [{ dlqId }] = await all(client);
  await client.dlq.retry(dlqId);
  await server.settle();
  const again = await all(client);
  assert.deepEqual([again.length, again[0].dlqId === dlqId], [1, false]);
});
