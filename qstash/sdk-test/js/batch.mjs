// Batches: several messages in one call, each with its own options.

import assert from "node:assert/strict";
import { refused, test, withServer } from "./runner.mjs";

const isId = (id) => assert.match(id, /^msg_/);

test("batch: URLs, URL groups and queues in one call are answered in order", async ({ server, receiver, client }) => {
  await client.urlGroups.addEndpoints({ name: "both", endpoints: [{ url: receiver.url("/g1") }, { url: receiver.url("/g2") }] });
  const answered = await client.batch([
    { url: receiver.url("/one"), body: "1" },
    { urlGroup: "both", body: "2" },
    { url: receiver.url("/queued"), body: "3", queueName: "line" },
    { urlGroup: "both", body: "4", queueName: "line" },
  ]);
  await server.settle();
  assert.deepEqual(answered.map(Array.isArray), [false, true, false, true]);
  answered.flat().forEach(({ messageId }) => isId(messageId));
  assert.deepEqual(
    answered[1].map(({ url }) => url),
    [receiver.url("/g1"), receiver.url("/g2")],
  );
  assert.deepEqual(
    ["/one", "/g1", "/g2", "/queued"].map((path) => receiver.bodies(path)),
    [["1"], ["2", "4"], ["2", "4"], ["3"]],
  );
  assert.deepEqual(
    (await client.queue().list()).map(({ name }) => name),
    ["line"],
  );
});

test("batch: each message has its own options", async ({ server, receiver, client }) => {
  await client.batch([
    { url: receiver.url("/a"), method: "PUT", headers: { "X-A": "1", "Content-Type": "text/csv" }, body: "a,b" },
    { url: receiver.url("/b"), delay: 30 },
  ]);
  await server.settle();
  const [{ method, headers, body }] = receiver.at("/a");
  assert.deepEqual([method, headers["x-a"], headers["content-type"], body], ["PUT", "1", "text/csv", "a,b"]);
  assert.equal(receiver.at("/b").length, 0);
  await server.advance("30s");
  assert.equal(receiver.at("/b").length, 1);
});

test("batch: batchJSON sends JSON with every option", async ({ server, receiver, client }) => {
  const [{ messageId }] = await client.batchJSON([
    {
      url: receiver.url("/in"),
      body: { a: 1 },
      delay: "1m",
      retries: 5,
      retryDelay: "5000",
      timeout: 9,
      label: ["x", "y"],
      callback: receiver.url("/cb"),
      failureCallback: receiver.url("/fcb"),
      flowControl: { key: "k", rate: 3, period: "1m" },
    },
  ]);
  const message = await client.messages.get(messageId);
  const { maxRetries, retryDelayExpression, labels, flowControlKey, rate, period, callback, failureCallback } = message;
  assert.deepEqual([maxRetries, retryDelayExpression, labels, flowControlKey, rate, period], [5, "5000", ["x", "y"], "k", 3, 60]);
  assert.deepEqual([callback, failureCallback], [receiver.url("/cb"), receiver.url("/fcb")]);
  await server.advance("1m");
  assert.deepEqual([receiver.at("/in")[0].headers["content-type"], receiver.bodies("/in")], ["application/json", ['{"a":1}']]);
});

test("batch: a copy is recognised within the batch", async ({ server, receiver, client }) => {
  const one = () => ({ url: receiver.url("/in"), deduplicationId: "same" });
  const [first, second] = await client.batch([one(), one()]);
  await server.settle();
  assert.deepEqual([second.messageId, second.deduplicated, receiver.at("/in").length], [first.messageId, true, 1]);
});

test("batch: an empty batch is answered with nothing", async ({ client }) => {
  assert.deepEqual(await client.batch([]), []);
});

test("batch: a bad message rejects the whole batch, and nothing is sent", async ({ server, receiver, client }) => {
  await refused(client.batch([{ url: receiver.url("/in") }, { url: receiver.url("/in"), delay: "soon" }]), 400);
  await refused(client.batch([{ url: receiver.url("/in") }, { url: "ftp://h/x" }]), 400);
  await server.settle();
  assert.equal(receiver.requests.length, 0);
});

test("batch: a group that does not exist is told of in its place, and the rest is sent", async ({ server, receiver, client }) => {
  const [good, bad] = await client.batch([{ url: receiver.url("/in") }, { urlGroup: "nobody" }]);
  await server.settle();
  isId(good.messageId);
  assert.match(bad.error, /not found/);
  assert.equal(receiver.at("/in").length, 1);
});

test("batch: a server may be told to reject bad messages one by one", async ({ receiver }) => {
  await withServer(["--choose", "batch-all-or-nothing=false"], async (server, client) => {
    const [good, bad] = await client.batch([{ url: receiver.url("/in") }, { url: receiver.url("/in"), delay: "soon" }]);
    await server.settle();
    isId(good.messageId);
    assert.match(bad.error, /Upstash-Delay/);
    assert.equal(receiver.at("/in").length, 1);
  });
});
