// Publishing: every option that the SDK has, seen at the receiver or in what the server says of the message.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { refused, test } from "./runner.mjs";
import { until } from "./harness.mjs";

const digest = (text) => `REDACTED:${createHash("sha256").update(text).digest("hex")}`;
const count = (receiver, path, wanted, what) => assert.equal(receiver.at(path).length, wanted, what);

test("publish: method, headers, content type and body arrive", async ({ server, receiver, client }) => {
  const headers = { "Content-Type": "text/plain", "X-Shop": "7", "Upstash-Forward-X-Till": "8" };
  const { messageId } = await client.publish({ url: receiver.url("/in"), method: "PUT", headers, body: "hello" });
  await server.settle();
  const [request] = receiver.at("/in");
  const { "content-type": type, "x-shop": shop, "x-till": till, "user-agent": agent } = request.headers;
  assert.deepEqual([request.method, type, shop, till, request.body], ["PUT", "text/plain", "7", "8", "hello"]);
  assert.deepEqual([request.headers["upstash-message-id"], request.headers["upstash-retried"], agent], [messageId, "0", "Upstash-QStash"]);
  assert.deepEqual([request.headers["upstash-region"], request.headers["upstash-caller-ip"]], ["EU-CENTRAL-1", "127.0.0.1"]);
});

test("publish: credentials and telemetry of the call stay behind", async ({ server, receiver, client }) => {
  await client.publish({ url: receiver.url("/in"), body: "x" });
  await server.settle();
  const names = Object.keys(receiver.at("/in")[0].headers);
  const stray = names.filter((name) => name === "authorization" || name.includes("telemetry") || name.startsWith("upstash-forward"));
  assert.deepEqual(stray, []);
});

test("publish: publishJSON sends JSON and says so", async ({ server, receiver, client }) => {
  await client.publishJSON({ url: receiver.url("/in"), body: { price: "5 €" } });
  await server.settle();
  const [{ method, body, headers }] = receiver.at("/in");
  assert.deepEqual([method, headers["content-type"], JSON.parse(body)], ["POST", "application/json", { price: "5 €" }]);
});

test("publish: without a body there is neither body nor content type", async ({ server, receiver, client }) => {
  await client.publish({ url: receiver.url("/in") });
  await server.settle();
  const [{ body, headers }] = receiver.at("/in");
  assert.deepEqual([body, headers["content-type"]], ["", undefined]);
});

test("publish: a content type that is to be forwarded and the call's own are not both sent", async ({ server, receiver, client }) => {
  const headers = { "Upstash-Forward-Content-Type": "application/vnd.shop+json" };
  await client.publishJSON({ url: receiver.url("/in"), body: {}, headers });
  await server.settle();
  assert.deepEqual(
    receiver.at("/in")[0].names.filter((name) => name === "content-type"),
    ["content-type"],
  );
});

test("publish: forms and blobs arrive byte for byte", async ({ server, receiver, client }) => {
  const bytes = Buffer.from([0, 255, 128, 10, 13]);
  await client.publish({ url: receiver.url("/form"), body: new URLSearchParams({ a: "1 2" }) });
  await client.publish({ url: receiver.url("/blob"), body: new Blob([bytes]) });
  await server.settle();
  assert.equal(receiver.at("/form")[0].body, "a=1+2");
  assert.equal(receiver.at("/form")[0].headers["content-type"], "application/x-www-form-urlencoded;charset=UTF-8");
  assert.deepEqual(receiver.at("/blob")[0].bytes, bytes);
});

for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
  test(`publish: a delivery can be made with ${method}`, async ({ server, receiver, client }) => {
    await client.publish({ url: receiver.url("/in"), method });
    await server.settle();
    assert.equal(receiver.at("/in")[0].method, method);
  });
}

test("publish: the destination keeps its query", async ({ server, receiver, client }) => {
  const target = "/in?a=1&b=%20&c=x,y";
  await client.publish({ url: receiver.url(target) });
  await server.settle();
  assert.equal(receiver.at("/in")[0].target, target);
});

test("publish: headers of the client go along, and a message's own beat them", async ({ server, receiver }) => {
  const client = server.client({ headers: { "X-All": "all", "X-One": "client" } });
  await client.publish({ url: receiver.url("/in"), headers: { "X-One": "message" } });
  await server.settle();
  const { "x-all": all, "x-one": one } = receiver.at("/in")[0].headers;
  assert.deepEqual([all, one], ["all", "message"]);
});

for (const delay of [90, "90s", "1m30s"]) {
  test(`publish: a delay of ${JSON.stringify(delay)} is waited for`, async ({ server, receiver, client }) => {
    await client.publish({ url: receiver.url("/in"), delay });
    await server.advance("89s");
    count(receiver, "/in", 0, "it arrived before its time");
    await server.advance("1s");
    count(receiver, "/in", 1, "it did not arrive at its time");
  });
}

test("publish: notBefore is waited for and beats a delay", async ({ server, receiver, client }) => {
  const notBefore = Math.floor((await server.now()) / 1_000) + 3_600;
  const { messageId } = await client.publish({ url: receiver.url("/in"), notBefore, delay: 5 });
  const shown = (await client.messages.get(messageId)).notBefore;
  await server.advance("50m");
  count(receiver, "/in", 0, `it arrived before its time, which is shown as ${shown}`);
  await server.advance("11m");
  count(receiver, "/in", 1, `it did not arrive at its time, which is shown as ${shown}`);
});

test("publish: retries and retryDelay are what a failing destination gets", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 500 });
  await client.publish({ url: receiver.url("/in"), retries: 2, retryDelay: "1000 * (1 + retried)" });
  await server.settle();
  const seen = [receiver.at("/in").length];
  for (const span of ["999ms", "1ms", "1999ms", "1ms", "1d"]) {
    await server.advance(span);
    seen.push(receiver.at("/in").length);
  }
  assert.deepEqual(seen, [1, 1, 2, 2, 3, 3], "attempts at 0, 1 and 3 seconds");
  assert.deepEqual(
    receiver.at("/in").map(({ headers }) => headers["upstash-retried"]),
    ["0", "1", "2"],
  );
});

test("publish: without options there are three retries, after 12 s, 2 min 28 s and 30 min 8 s", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 500 });
  await client.publish({ url: receiver.url("/in") });
  await server.settle();
  const seen = [];
  for (const span of ["12s", "1s", "147s", "2s", "1800s", "20s", "1d"]) {
    await server.advance(span);
    seen.push(receiver.at("/in").length);
  }
  assert.deepEqual(seen, [1, 2, 2, 3, 3, 4, 4]);
});

test("publish: with no retries the first failure is the last", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 500 });
  await client.publish({ url: receiver.url("/in"), retries: 0 });
  await server.advance("1d");
  count(receiver, "/in", 1);
  assert.equal((await client.dlq.listMessages()).messages.length, 1);
});

test("publish: an answer that takes longer than the timeout is a failure", async ({ server, receiver, client }) => {
  receiver.answer("/in", { hold: true });
  const { messageId } = await client.publish({ url: receiver.url("/in"), timeout: 1, retries: 0 });
  await server.settle();
  const { logs } = await client.logs({ messageIds: [messageId], filter: undefined });
  const failed = logs.find((log) => log.state === "FAILED");
  assert.equal(failed?.error, "context deadline exceeded", JSON.stringify(logs));
  assert.equal(failed.timeout, 1_000);
});

test("publish: a deduplication id is remembered for ten minutes", async ({ server, receiver, client }) => {
  const publish = () => client.publish({ url: receiver.url("/in"), deduplicationId: "order-7" });
  const [first, second] = [await publish(), await publish()];
  assert.deepEqual([first.deduplicated, second.deduplicated, second.messageId], [undefined, true, first.messageId]);
  await server.advance("11m");
  assert.notEqual((await publish()).messageId, first.messageId);
  await server.settle();
  count(receiver, "/in", 2);
  await refused(client.publish({ url: receiver.url("/in"), deduplicationId: "a:b" }), 400);
});

test("publish: content-based deduplication looks at body, headers and destination", async ({ server, receiver, client }) => {
  const publish = async (path, body, shop) =>
    (await client.publish({ url: receiver.url(path), body, headers: { "X-Shop": shop }, contentBasedDeduplication: true })).messageId;
  const first = await publish("/in", "a", "1");
  assert.equal(await publish("/in", "a", "1"), first, "the same again");
  const others = [await publish("/in", "b", "1"), await publish("/in", "a", "2"), await publish("/out", "a", "1")];
  assert.equal(new Set([first, ...others]).size, 4, "another body, header or destination");
  await server.settle();
  assert.equal(receiver.requests.length, 4);
});

test("publish: labels are shown, one and several", async ({ receiver, client }) => {
  const shown = async (label) => {
    const { messageId } = await client.publish({ url: receiver.url("/in"), delay: 60, label });
    const { label: first, labels } = await client.messages.get(messageId);
    return [first, labels];
  };
  assert.deepEqual(await shown("a"), ["a", ["a"]]);
  assert.deepEqual(await shown(["a", "b"]), ["a", ["a", "b"]]);
});

test("publish: redacted fields are shown as digests and delivered whole", async ({ server, receiver, client }) => {
  const headers = { "X-Key": "secret", "X-Open": "open" };
  const { messageId } = await client.publish({
    url: receiver.url("/in"),
    body: "card 42",
    headers,
    delay: 60,
    redact: { body: true, header: ["X-Key"] },
  });
  const message = await client.messages.get(messageId);
  assert.deepEqual([message.body, message.header["X-Key"], message.header["X-Open"]], [digest("card 42"), [digest("secret")], ["open"]]);
  const { logs } = await client.logs();
  assert.deepEqual([logs[0].body, logs[0].header["X-Key"]], [digest("card 42"), [digest("secret")]]);
  await server.advance("60s");
  assert.deepEqual([receiver.at("/in")[0].body, receiver.at("/in")[0].headers["x-key"]], ["card 42", "secret"]);
});

test("publish: all headers can be redacted", async ({ receiver, client }) => {
  const { messageId } = await client.publish({
    url: receiver.url("/in"),
    body: "b",
    headers: { "X-Key": "s" },
    delay: 60,
    redact: { header: true },
  });
  const { body, header } = await client.messages.get(messageId);
  assert.deepEqual([body, header["X-Key"]], ["b", [digest("s")]]);
});

test("publish: flow control's parallelism holds", async ({ server, receiver, client }) => {
  receiver.answer("/in", { hold: true });
  const flowControl = { key: "shop", parallelism: 2 };
  for (let number = 0; number < 5; number += 1) await client.publish({ url: receiver.url("/in"), body: `${number}`, flowControl });
  await until("two are being delivered", () => receiver.at("/in").length === 2);
  const { waitListSize, parallelismMax, parallelismCount } = await client.flowControl.get("shop");
  assert.deepEqual([waitListSize, parallelismMax, parallelismCount], [3, 2, 2]);
  receiver.release();
  await server.settle();
  count(receiver, "/in", 5, "all arrive at last");
});

for (const limit of [
  { rate: 2, period: "1m" },
  { rate: 2, period: 60 },
]) {
  test(`publish: flow control's rate holds, the period written ${JSON.stringify(limit.period)}`, async ({ server, receiver, client }) => {
    for (let number = 0; number < 5; number += 1)
      await client.publish({ url: receiver.url("/in"), flowControl: { key: "shop", ...limit } });
    await server.settle();
    const seen = [receiver.at("/in").length];
    for (const span of ["59s", "1s", "60s"]) {
      await server.advance(span);
      seen.push(receiver.at("/in").length);
    }
    assert.deepEqual(seen, [2, 2, 4, 5]);
  });
}

test("publish: the old name of a rate means per second", async ({ receiver, client }) => {
  const { messageId } = await client.publish({
    url: receiver.url("/in"),
    delay: 60,
    flowControl: { key: "k", ratePerSecond: 3, parallelism: 4 },
  });
  const { flowControlKey, rate, ratePerSecond, period, parallelism } = await client.messages.get(messageId);
  assert.deepEqual([flowControlKey, rate, ratePerSecond, period, parallelism], ["k", 3, 3, 1, 4]);
});
