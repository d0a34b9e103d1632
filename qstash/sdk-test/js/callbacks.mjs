// Callbacks and failure callbacks: delivered, verified, and read field by field.

import assert from "node:assert/strict";
import { sdk } from "./harness.mjs";
import { test } from "./runner.mjs";

const decoded = (base64) => Buffer.from(base64, "base64").toString();
const told = (request) => JSON.parse(request.body);

// A callback is a message like any other, so its signature is over its own URL and body.
async function verified(server, request) {
  const { body, url, headers } = request;
  await new sdk.Receiver(server.keys).verify({ signature: headers["upstash-signature"], body, url });
  return told(request);
}

test("callback: it tells what was sent and what came back", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 201, body: "made it ✓", headers: { "X-Answer": "42" } });
  const { messageId } = await client.publish({
    url: receiver.url("/in"),
    method: "PUT",
    body: "hello",
    headers: { "X-Shop": "7" },
    callback: receiver.url("/cb"),
    retries: 1,
  });
  await server.settle();
  const body = await verified(server, receiver.at("/cb")[0]);
  assert.deepEqual([body.status, decoded(body.body), body.header["X-Answer"]], [201, "made it ✓", ["42"]]);
  assert.deepEqual(
    [body.sourceMessageId, body.url, body.method, decoded(body.sourceBody)],
    [messageId, receiver.url("/in"), "PUT", "hello"],
  );
  assert.deepEqual([body.sourceHeader["X-Shop"], body.maxRetries, body.retried ?? 0, body.callerIP], [["7"], 1, 0, "127.0.0.1"]);
  assert.ok(Number(body.createdAt) > 0 && Number(body.notBefore) >= Number(body.createdAt), JSON.stringify(body));
  assert.equal(body.dlqId, undefined, "only failure callbacks have it");
});

test("callback: the SDK's own decoder reads it", async ({ server, receiver, client }) => {
  receiver.answer("/in", { body: "grüße" });
  await client.publish({ url: receiver.url("/in"), callback: receiver.url("/cb") });
  await server.settle();
  assert.equal(sdk.decodeBase64(told(receiver.at("/cb")[0]).body), "grüße");
});

test("callback: every attempt is told of, and the last says so", async ({ server, receiver, client }) => {
  receiver.answer("/in", (before) => ({ status: before < 2 ? 503 : 200 }));
  await client.publish({ url: receiver.url("/in"), callback: receiver.url("/cb"), retries: 5, retryDelay: "1000" });
  await server.advance("10s");
  const seen = receiver
    .at("/cb")
    .map(told)
    .map(({ status, retried = 0 }) => [status, retried]);
  assert.deepEqual(seen, [
    [503, 0],
    [503, 1],
    [200, 2],
  ]);
});

test("callback: it has a message id of its own and is listed", async ({ server, receiver, client }) => {
  const { messageId } = await client.publish({ url: receiver.url("/in"), callback: receiver.url("/cb") });
  await server.settle();
  const own = receiver.at("/cb")[0].headers["upstash-message-id"];
  assert.notEqual(own, messageId);
  const { logs } = await client.logs({ filter: { messageId: own, state: "DELIVERED" } });
  assert.deepEqual(
    logs.map(({ url }) => url),
    [receiver.url("/cb")],
  );
});

test("callback: its own options hold", async ({ server, receiver, client }) => {
  receiver.answer("/cb", { status: 500 });
  const headers = {
    "Upstash-Callback-Method": "PUT",
    "Upstash-Callback-Retries": "1",
    "Upstash-Callback-Retry-Delay": "2000",
    "Upstash-Callback-Timeout": "30s",
    "Upstash-Callback-Forward-X-For": "callback",
  };
  await client.publish({ url: receiver.url("/in"), callback: receiver.url("/cb"), headers });
  await server.advance("1d");
  const seen = receiver.at("/cb").map(({ method, headers }) => [method, headers["x-for"], headers["upstash-retried"]]);
  assert.deepEqual(seen, [
    ["PUT", "callback", "0"],
    ["PUT", "callback", "1"],
  ]);
  const { messages } = await client.dlq.listMessages();
  assert.deepEqual(
    messages.map(({ url, maxRetries, retryDelayExpression }) => [url, maxRetries, retryDelayExpression]),
    [[receiver.url("/cb"), 1, "2000"]],
  );
});

test("callback: its URL and headers are shown with the message", async ({ receiver, client }) => {
  const headers = { "Upstash-Callback-Forward-X-A": "1", "Upstash-Failure-Callback-Forward-X-B": "2" };
  const { messageId } = await client.publish({
    url: receiver.url("/in"),
    delay: 60,
    callback: receiver.url("/cb"),
    failureCallback: receiver.url("/fcb"),
    headers,
  });
  const { callback, failureCallback, callbackHeader, failureCallbackHeader } = await client.messages.get(messageId);
  assert.deepEqual([callback, failureCallback], [receiver.url("/cb"), receiver.url("/fcb")]);
  assert.deepEqual([callbackHeader["X-A"], failureCallbackHeader["X-B"]], [["1"], ["2"]]);
});

test("failure callback: it comes once, with the entry of the dead-letter queue", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 502, body: "broken" });
  const { messageId } = await client.publish({
    url: receiver.url("/in"),
    body: "b",
    failureCallback: receiver.url("/fcb"),
    retries: 2,
    retryDelay: "1000",
  });
  await server.advance("1h");
  assert.deepEqual([receiver.at("/in").length, receiver.at("/fcb").length], [3, 1]);
  const body = await verified(server, receiver.at("/fcb")[0]);
  const [dead] = (await client.dlq.listMessages()).messages;
  assert.deepEqual(
    [body.dlqId, body.sourceMessageId, body.status, decoded(body.body), body.retried, body.maxRetries],
    [dead.dlqId, messageId, 502, "broken", 2, 2],
  );
});

test("failure callback: its own options hold", async ({ server, receiver, client }) => {
  for (const path of ["/in", "/fcb"]) receiver.answer(path, { status: 500 });
  const headers = {
    "Upstash-Failure-Callback-Method": "PATCH",
    "Upstash-Failure-Callback-Retries": "0",
    "Upstash-Failure-Callback-Forward-X-For": "failure",
  };
  await client.publish({ url: receiver.url("/in"), retries: 0, failureCallback: receiver.url("/fcb"), headers });
  await server.advance("1d");
  const seen = receiver.at("/fcb").map(({ method, headers }) => [method, headers["x-for"]]);
  assert.deepEqual(seen, [["PATCH", "failure"]]);
});

test("failure callback: an answer that says it is final ends the retries", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 489, headers: { "Upstash-NonRetryable-Error": "true" } });
  await client.publish({ url: receiver.url("/in"), failureCallback: receiver.url("/fcb") });
  await server.settle();
  assert.deepEqual([receiver.at("/in").length, receiver.at("/fcb").length, told(receiver.at("/fcb")[0]).status], [1, 1, 489]);
});

test("failure callback: only the pair of status and header is final", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 500, headers: { "Upstash-NonRetryable-Error": "true" } });
  receiver.answer("/other", { status: 489 });
  for (const path of ["/in", "/other"]) await client.publish({ url: receiver.url(path), retries: 1 });
  await server.advance("1m");
  assert.deepEqual([receiver.at("/in").length, receiver.at("/other").length], [2, 2]);
});

test("failure callback: no answer at all is told of", async ({ server, receiver, client }) => {
  await client.publish({ url: "http://127.0.0.1:1/nobody", retries: 0, failureCallback: receiver.url("/fcb") });
  await server.settle();
  const body = await verified(server, receiver.at("/fcb")[0]);
  assert.deepEqual([body.status, body.body ?? ""], [0, ""]);
});
