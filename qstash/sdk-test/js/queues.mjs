// Queues: their life, and the order in which a receiver sees what is in them.

import assert from "node:assert/strict";
import { until } from "./harness.mjs";
import { refused, test } from "./runner.mjs";

async function enqueue(queue, url, bodies, more = {}) {
  for (const body of bodies) await queue.enqueue({ url, body, ...more });
}

test("queue: it is made, changed, listed and deleted", async ({ server, client }) => {
  const queue = client.queue({ queueName: "line" });
  await queue.upsert({ parallelism: 3 });
  const made = await queue.get();
  assert.deepEqual([made.name, made.parallelism, made.lag, made.paused], ["line", 3, 0, false]);
  await server.advance("1s");
  await queue.upsert({ parallelism: 2, paused: true });
  const changed = await queue.get();
  assert.deepEqual([changed.parallelism, changed.paused, changed.createdAt], [2, true, made.createdAt]);
  assert.equal(changed.updatedAt, made.updatedAt + 1_000);
  await client.queue({ queueName: "other" }).upsert({});
  assert.deepEqual(
    (await client.queue().list()).map(({ name, parallelism }) => [name, parallelism]),
    [
      ["line", 2],
      ["other", 1],
    ],
  );
  await queue.delete();
  assert.deepEqual(
    (await client.queue().list()).map(({ name }) => name),
    ["other"],
  );
  await refused(queue.get(), 404);
});

test("queue: the first message makes it", async ({ server, receiver, client }) => {
  const queue = client.queue({ queueName: "new" });
  const { messageId } = await queue.enqueueJSON({ url: receiver.url("/in"), body: { a: 1 } });
  await server.settle();
  const [{ body, headers }] = receiver.at("/in");
  assert.deepEqual([body, headers["content-type"], headers["upstash-message-id"]], ['{"a":1}', "application/json", messageId]);
  assert.equal((await queue.get()).parallelism, 1);
});

test("queue: messages arrive one after another, a retry before the next one", async ({ server, receiver, client }) => {
  receiver.answer("/in", (before) => ({ status: before === 1 ? 500 : 200 }));
  await enqueue(client.queue({ queueName: "line" }), receiver.url("/in"), ["a", "b", "c", "d"], { retries: 1, retryDelay: "60000" });
  await server.settle();
  assert.deepEqual(receiver.bodies("/in"), ["a", "b"], "the line waits for the retry");
  assert.equal((await client.queue({ queueName: "line" }).get()).lag, 3);
  await server.advance("1m");
  assert.deepEqual(receiver.bodies("/in"), ["a", "b", "b", "c", "d"]);
});

test("queue: only one is under way at a time", async ({ server, receiver, client }) => {
  receiver.answer("/in", { hold: true });
  await enqueue(client.queue({ queueName: "line" }), receiver.url("/in"), ["a", "b", "c"]);
  await until("the first is being delivered", () => receiver.at("/in").length > 0);
  assert.equal((await client.flowControl.getGlobalParallelism()).parallelismCount, 1);
  receiver.release();
  await server.settle();
  assert.deepEqual(receiver.bodies("/in"), ["a", "b", "c"]);
});

test("queue: its parallelism is how many are under way", async ({ server, receiver, client }) => {
  const queue = client.queue({ queueName: "line" });
  await queue.upsert({ parallelism: 2 });
  receiver.answer("/in", { hold: true });
  await enqueue(queue, receiver.url("/in"), ["a", "b", "c"]);
  await until("two are being delivered", () => receiver.at("/in").length === 2);
  assert.equal((await client.flowControl.getGlobalParallelism()).parallelismCount, 2);
  receiver.release();
  await server.settle();
  assert.equal(receiver.at("/in").length, 3);
});

test("queue: a callback is delivered before the next message", async ({ server, receiver, client }) => {
  await enqueue(client.queue({ queueName: "line" }), receiver.url("/in"), ["a", "b"], { callback: receiver.url("/cb") });
  await server.settle();
  assert.deepEqual(
    receiver.requests.map(({ path }) => path),
    ["/in", "/cb", "/in", "/cb"],
  );
});

test("queue: while it is paused nothing is delivered", async ({ server, receiver, client }) => {
  const queue = client.queue({ queueName: "line" });
  await queue.upsert({});
  await queue.pause();
  assert.equal((await queue.get()).paused, true);
  await enqueue(queue, receiver.url("/in"), ["a", "b"]);
  await server.advance("1h");
  assert.deepEqual([receiver.at("/in").length, (await queue.get()).lag], [0, 2]);
  await queue.resume();
  await server.settle();
  assert.deepEqual([receiver.bodies("/in"), (await queue.get()).paused, (await queue.get()).lag], [["a", "b"], false, 0]);
});

test("queue: a URL group gets a message for each endpoint", async ({ server, receiver, client }) => {
  await client.urlGroups.addEndpoints({ name: "both", endpoints: [{ url: receiver.url("/g1") }, { url: receiver.url("/g2") }] });
  const answered = await client.queue({ queueName: "line" }).enqueue({ urlGroup: "both", body: "x" });
  await server.settle();
  assert.deepEqual(
    answered.map(({ url }) => url),
    [receiver.url("/g1"), receiver.url("/g2")],
  );
  assert.deepEqual([receiver.bodies("/g1"), receiver.bodies("/g2")], [["x"], ["x"]]);
});

test("queue: messages say which queue they are in", async ({ receiver, client }) => {
  const queue = client.queue({ queueName: "line" });
  await queue.upsert({ paused: true });
  const { messageId } = await queue.enqueue({ url: receiver.url("/in"), label: "l", retries: 4, deduplicationId: "d" });
  const { queueName, label, maxRetries } = await client.messages.get(messageId);
  assert.deepEqual([queueName, label, maxRetries], ["line", "l", 4]);
  assert.equal((await queue.enqueue({ url: receiver.url("/in"), deduplicationId: "d" })).deduplicated, true);
});

test("queue: one that does not exist can be neither paused nor resumed nor deleted", async ({ client }) => {
  const queue = client.queue({ queueName: "nobody" });
  for (const act of ["pause", "resume", "delete", "get"]) await refused(queue[act](), 404);
});
