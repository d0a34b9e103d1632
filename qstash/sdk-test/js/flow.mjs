// Flow control by its key.

import assert from "node:assert/strict";
import { until } from "./harness.mjs";
import { refused, test } from "./runner.mjs";

const publish = async (client, receiver, count, flowControl) => {
  for (let number = 0; number < count; number += 1) await client.publish({ url: receiver.url("/in"), flowControl });
};

test("flow control: a key is shown with its limits and what waits for it", async ({ server, receiver, client }) => {
  const start = await server.now();
  await publish(client, receiver, 5, { key: "k", rate: 2, parallelism: 3, period: "1m" });
  await server.settle();
  assert.deepEqual(await client.flowControl.get("k"), {
    flowControlKey: "k",
    waitListSize: 3,
    parallelismMax: 3,
    parallelismCount: 0,
    rateMax: 2,
    rateCount: 2,
    ratePeriod: 60,
    ratePeriodStart: Math.floor(start / 1_000),
    isPaused: false,
    isPinnedParallelism: false,
    isPinnedRate: false,
  });
});

test("flow control: the plan's parallelism is told", async ({ receiver, client }) => {
  assert.deepEqual(await client.flowControl.getGlobalParallelism(), { parallelismMax: 100, parallelismCount: 0 });
  receiver.answer("/in", { hold: true });
  await client.publish({ url: receiver.url("/in") });
  await until("it is being delivered", () => receiver.at("/in").length === 1);
  assert.equal((await client.flowControl.getGlobalParallelism()).parallelismCount, 1);
});

test("flow control: while a key is paused its messages wait", async ({ server, receiver, client }) => {
  await client.flowControl.pause("k");
  await publish(client, receiver, 2, { key: "k", parallelism: 5 });
  await client.publish({ url: receiver.url("/other"), flowControl: { key: "other", parallelism: 5 } });
  await server.advance("1h");
  const { isPaused, waitListSize } = await client.flowControl.get("k");
  assert.deepEqual([isPaused, waitListSize, receiver.at("/in").length, receiver.at("/other").length], [true, 2, 0, 1]);
  await client.flowControl.resume("k");
  await server.settle();
  assert.deepEqual([(await client.flowControl.get("k")).isPaused, receiver.at("/in").length], [false, 2]);
});

test("flow control: a pinned limit beats what messages say, until a message comes after the unpin", async ({ server, receiver, client }) => {
  await client.flowControl.pin("k", { parallelism: 7, rate: 1, period: 60 });
  await publish(client, receiver, 3, { key: "k", parallelism: 2, rate: 100, period: "1s" });
  await server.settle();
  const pinned = await client.flowControl.get("k");
  assert.deepEqual(
    [pinned.parallelismMax, pinned.rateMax, pinned.ratePeriod, pinned.isPinnedParallelism, pinned.isPinnedRate],
    [7, 1, 60, true, true],
  );
  assert.equal(receiver.at("/in").length, 1);
  await client.flowControl.unpin("k", { rate: true });
  const half = await client.flowControl.get("k");
  assert.deepEqual([half.isPinnedParallelism, half.isPinnedRate, half.rateMax, half.ratePeriod], [true, false, 1, 60]);
  await client.flowControl.unpin("k", { parallelism: true });
  assert.deepEqual(
    [(await client.flowControl.get("k")).isPinnedParallelism, (await client.flowControl.get("k")).parallelismMax],
    [false, 7],
  );
  await publish(client, receiver, 1, { key: "k", parallelism: 2, rate: 100, period: "1s" });
  const free = await client.flowControl.get("k");
  assert.deepEqual([free.parallelismMax, free.rateMax, free.ratePeriod], [2, 100, 1]);
  await server.advance("1s");
  assert.equal(receiver.at("/in").length, 4);
});

test("flow control: unpin without a wish leaves what is pinned", async ({ client }) => {
  await client.flowControl.pin("k", { parallelism: 7 });
  await client.flowControl.unpin("k", { parallelism: false, rate: true });
  const { isPinnedParallelism, isPinnedRate } = await client.flowControl.get("k");
  assert.deepEqual([isPinnedParallelism, isPinnedRate], [true, false]);
});

test("flow control: a reset begins a new period at once", async ({ server, receiver, client }) => {
  await publish(client, receiver, 4, { key: "k", rate: 2, period: "1h" });
  await server.advance("10s");
  assert.equal(receiver.at("/in").length, 2);
  await client.flowControl.resetRate("k");
  await server.settle();
  const { rateCount, ratePeriodStart } = await client.flowControl.get("k");
  assert.deepEqual([receiver.at("/in").length, rateCount, ratePeriodStart], [4, 2, Math.floor((await server.now()) / 1_000)]);
});

test("flow control: a key may be any text that a URL takes", async ({ receiver, client }) => {
  for (const key of ["two words", "a%20b", "k:1"]) {
    const { messageId } = await client.publish({ url: receiver.url("/in"), delay: 60, flowControl: { key, rate: 1 } });
    assert.equal((await client.messages.get(messageId)).flowControlKey, key);
    await client.flowControl.pause(encodeURIComponent(key));
    assert.equal((await client.flowControl.get(encodeURIComponent(key))).flowControlKey, key);
  }
});

test("flow control: a key that nobody uses is unknown, and pinning needs a limit", async ({ client }) => {
  await refused(client.flowControl.get("nobody"), 404);
  await refused(client.flowControl.pin("k", {}), 400);
});
