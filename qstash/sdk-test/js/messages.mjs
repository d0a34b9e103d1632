// Pending messages: what is shown of them, and how they are cancelled.

import assert from "node:assert/strict";
import { refused, test } from "./runner.mjs";

// Messages that wait, each of another kind; their ids by kind.
async function waiting(client, receiver) {
  await client.urlGroups.addEndpoints({ name: "shop", endpoints: [{ url: receiver.url("/grouped") }] });
  await client.queue({ queueName: "line" }).upsert({ paused: true });
  const publish = async (path, more) => (await client.publish({ url: receiver.url(path), delay: 3_600, ...more })).messageId;
  return {
    plain: await publish("/plain"),
    labelled: await publish("/labelled", { label: ["a", "b"] }),
    flowing: await publish("/flowing", { flowControl: { key: "k", parallelism: 1 } }),
    grouped: (await client.publish({ urlGroup: "shop", delay: 3_600 }))[0].messageId,
    queued: (await client.queue({ queueName: "line" }).enqueue({ url: receiver.url("/queued") })).messageId,
  };
}

async function left(client, ids) {
  const found = await Promise.all(
    Object.entries(ids).map(([kind, id]) =>
      client.messages.get(id).then(
        () => kind,
        () => undefined,
      ),
    ),
  );
  return found.filter(Boolean).sort();
}

test("message: everything about it is shown while it waits", async ({ server, receiver, client }) => {
  const now = await server.now();
  const { messageId } = await client.publish({
    url: receiver.url("/in"),
    method: "PUT",
    body: "text",
    headers: { "X-A": "1" },
    delay: 60,
    retries: 5,
    retryDelay: "1000",
  });
  const message = await client.messages.get(messageId);
  assert.deepEqual(
    [message.messageId, message.url, message.method, message.body, message.header["X-A"]],
    [messageId, receiver.url("/in"), "PUT", "text", ["1"]],
  );
  assert.deepEqual(
    [message.maxRetries, message.retryDelayExpression, message.createdAt, message.notBefore],
    [5, "1000", now, now + 60_000],
  );
  assert.deepEqual(
    [message.callerIP, message.urlGroup, message.queueName, message.scheduleId],
    ["127.0.0.1", undefined, undefined, undefined],
  );
});

test("message: a body that is not text is shown in base64", async ({ receiver, client }) => {
  const bytes = Buffer.from([255, 0, 128]);
  const { messageId } = await client.publish({ url: receiver.url("/in"), body: new Blob([bytes]), delay: 60 });
  const { body, bodyBase64 } = await client.messages.get(messageId);
  assert.deepEqual([body, bodyBase64], [undefined, bytes.toString("base64")]);
});

test("message: it is forgotten once it is delivered", async ({ server, receiver, client }) => {
  const { messageId } = await client.publish({ url: receiver.url("/in") });
  await server.settle();
  await refused(client.messages.get(messageId), 404);
});

test("message: one that is cancelled never arrives, and the log says so", async ({ server, receiver, client }) => {
  const { messageId } = await client.publish({ url: receiver.url("/in"), delay: 60 });
  assert.deepEqual(await client.messages.cancel(messageId), { cancelled: 1 });
  await server.advance("1h");
  assert.equal(receiver.at("/in").length, 0);
  const { logs } = await client.logs({ messageIds: [messageId] });
  assert.deepEqual(
    logs.map(({ state }) => state),
    ["CANCELED", "CANCEL_REQUESTED", "CREATED"],
  );
  await refused(client.messages.cancel(messageId), 404);
});

test("message: between its retries it can be cancelled too", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 500 });
  const { messageId } = await client.publish({ url: receiver.url("/in"), failureCallback: receiver.url("/fcb") });
  await server.settle();
  await client.messages.cancel(messageId);
  await server.advance("1d");
  assert.deepEqual([receiver.at("/in").length, receiver.at("/fcb").length, (await client.dlq.listMessages()).messages], [1, 0, []]);
});

test("message: several are cancelled by their ids", async ({ receiver, client }) => {
  const ids = await waiting(client, receiver);
  assert.deepEqual(await client.messages.cancel([ids.plain, ids.queued, "msg_unknown"]), { cancelled: 2 });
  assert.deepEqual(await client.messages.cancel({ messageIds: [ids.labelled] }), { cancelled: 1 });
  assert.deepEqual(await client.messages.cancel([]), { cancelled: 0 });
  assert.deepEqual(await left(client, ids), ["flowing", "grouped"]);
});

const filters = {
  label: [() => ({ label: "b" }), ["labelled"]],
  "one of several labels": [() => ({ label: ["b", "x"] }), ["labelled"]],
  flowControlKey: [() => ({ flowControlKey: "k" }), ["flowing"]],
  urlGroup: [() => ({ urlGroup: "shop" }), ["grouped"]],
  queueName: [() => ({ queueName: "line" }), ["queued"]],
  url: [(receiver) => ({ url: [receiver.url("/plain"), receiver.url("/queued")] }), ["plain", "queued"]],
  path: [() => ({ path: "/plain" }), ["plain"]],
  "host and path": [() => ({ host: "127.0.0.1", path: ["/plain", "/labelled"] }), ["labelled", "plain"]],
  "another host": [() => ({ host: "h.example" }), []],
  callerIp: [() => ({ callerIp: "127.0.0.1" }), ["flowing", "grouped", "labelled", "plain", "queued"]],
  "dates that are past": [() => ({ toDate: new Date(1_000) }), []],
  "dates, as numbers": [() => ({ fromDate: 1_000 }), ["flowing", "grouped", "labelled", "plain", "queued"]],
};
for (const [name, [filter, gone]] of Object.entries(filters)) {
  test(`message: cancelled by filter: ${name}`, async ({ receiver, client }) => {
    const ids = await waiting(client, receiver);
    const { cancelled } = await client.messages.cancel({ filter: filter(receiver), count: 1 });
    assert.deepEqual(
      await left(client, ids),
      Object.keys(ids)
        .filter((kind) => !gone.includes(kind))
        .sort(),
    );
    assert.equal(cancelled, gone.length, "count is ignored, as the SDK says");
  });
}

test("message: all are cancelled", async ({ server, receiver, client }) => {
  const ids = await waiting(client, receiver);
  assert.deepEqual(await client.messages.cancel({ all: true }), { cancelled: 5 });
  await server.advance("1d");
  assert.deepEqual([await left(client, ids), receiver.requests.length], [[], 0]);
});

test("message: the SDK's old names of cancelling work", async ({ receiver, client }) => {
  const ids = await waiting(client, receiver);
  await client.messages.delete(ids.plain);
  assert.equal(await client.messages.deleteMany([ids.labelled, ids.queued]), 2);
  assert.equal(await client.messages.deleteAll(), 2);
  assert.deepEqual(await left(client, ids), []);
  await refused(client.messages.delete(ids.plain), 404);
});

test("message: a filter of which only the name is wrong cancels nothing", async ({ receiver, client }) => {
  const ids = await waiting(client, receiver);
  await refused(client.messages.cancel({ filter: { lable: "b" } }), 400);
  await refused(client.messages.cancel({ messageIds: [] }));
  assert.equal((await left(client, ids)).length, 5);
});
