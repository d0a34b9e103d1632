// The SDK's receiver verifies what is really delivered.

import assert from "node:assert/strict";
import { sdk, until } from "./harness.mjs";
import { refused, test, withServer } from "./runner.mjs";

const signature = (request) => request.headers["upstash-signature"];
const verify = (keys, request, more = {}) =>
  new sdk.Receiver(keys).verify({ signature: signature(request), body: request.body, url: request.url, ...more });
const denied = (promise) => refused(promise, undefined, "SignatureError");

async function delivered(server, receiver, body, path = "/in") {
  await server.client().publish({ url: receiver.url(path), body });
  await server.settle();
  return receiver.requests.at(-1);
}

const bodies = {
  "an ordinary body": '{"a":1}',
  "no body": undefined,
  "100 KB": "x".repeat(100_000),
  "a body beyond ASCII": "Grüße, 世界 🌍",
  "white space and a line end": " \r\n",
};
for (const [name, body] of Object.entries(bodies)) {
  test(`receiver: it verifies ${name}, with the URL and without`, async ({ server, receiver }) => {
    const request = await delivered(server, receiver, body);
    assert.equal(request.body, body ?? "");
    assert.equal(await verify(server.keys, request), true);
    assert.equal(await verify(server.keys, request, { url: undefined }), true);
  });
}

test("receiver: the URL is verified with its query", async ({ server, receiver }) => {
  const request = await delivered(server, receiver, "b", "/in?a=1&b=%20");
  assert.equal(await verify(server.keys, request, { url: receiver.url("/in?a=1&b=%20") }), true);
  await denied(verify(server.keys, request, { url: receiver.url("/in") }));
});

test("receiver: another body, another URL, another key and another token are refused", async ({ server, receiver }) => {
  const request = await delivered(server, receiver, "b");
  await denied(verify(server.keys, request, { body: "c" }));
  await denied(verify(server.keys, request, { body: "" }));
  await denied(verify(server.keys, request, { url: receiver.url("/other") }));
  await denied(verify({ currentSigningKey: "sig_a", nextSigningKey: "sig_b" }, request));
  const [head, claims, mac] = signature(request).split(".");
  await denied(verify(server.keys, request, { signature: [head, claims, mac.split("").reverse().join("")].join(".") }));
});

test("receiver: each endpoint of a group and each retry has a token of its own", async ({ server, receiver, client }) => {
  await client.urlGroups.addEndpoints({ name: "both", endpoints: [{ url: receiver.url("/g1") }, { url: receiver.url("/g2") }] });
  receiver.answer("/g2", (before) => ({ status: before === 0 ? 500 : 200 }));
  await client.publish({ urlGroup: "both", body: "b" });
  await server.advance("1m");
  assert.equal(receiver.requests.length, 3);
  for (const request of receiver.requests) assert.equal(await verify(server.keys, request), true);
  assert.equal(new Set(receiver.requests.map(signature)).size, 3);
  await denied(verify(server.keys, receiver.at("/g1")[0], { url: receiver.url("/g2") }));
});

test("receiver: a URL without a path is signed as it was published", async ({ server, receiver }) => {
  const request = await delivered(server, receiver, "b", "");
  assert.equal(request.path, "/");
  assert.equal(await verify(server.keys, request, { url: receiver.origin }), true);
  await denied(verify(server.keys, request, { url: `${receiver.origin}/` }));
});

test("receiver: what a clock delivers that runs 3,600 times as fast is verified", async ({ receiver }) => {
  await withServer(["--speed", "3600"], async (server, client) => {
    await client.publish({ url: receiver.url("/in"), body: "b", delay: "1h" });
    await until("it is delivered", () => receiver.at("/in").length === 1);
    assert.equal(await verify(server.keys, receiver.at("/in")[0]), true);
  });
});

test("receiver: tokens go by real time, wherever the stepped clock is", async ({ server, receiver }) => {
  await server.advance("30d");
  assert.equal(await verify(server.keys, await delivered(server, receiver, "b")), true);
});

test("receiver: with one clock for all, a token of tomorrow is not valid today", async ({ receiver }) => {
  await withServer(["--callers", "same"], async (server) => {
    assert.equal(await verify(server.keys, await delivered(server, receiver, "now"), { clockTolerance: 5 }), true);
    await server.advance("1d");
    const request = await delivered(server, receiver, "tomorrow");
    await denied(verify(server.keys, request));
    assert.equal(await verify(server.keys, request, { clockTolerance: 86_400 + 60 }), true);
  });
});

test("receiver: after one rotation the old keys still do, after two they do not", async ({ server, receiver }) => {
  const [old, once] = [server.keys, await server.rotate()];
  assert.equal(once.current, old.nextSigningKey);
  assert.equal(await verify(old, await delivered(server, receiver, "once")), true);
  const twice = await server.rotate();
  const request = await delivered(server, receiver, "twice");
  await denied(verify(old, request));
  assert.equal(await verify({ currentSigningKey: once.current, nextSigningKey: once.next }, request), true);
  assert.equal(await verify({ currentSigningKey: twice.current, nextSigningKey: twice.next }, request), true);
});

test("receiver: a token of the next key is accepted", async ({ receiver }) => {
  await withServer(["--chaos", "next-key"], async (server) => {
    const request = await delivered(server, receiver, "b");
    assert.equal(await verify(server.keys, request), true);
    const { currentSigningKey } = server.keys;
    await denied(verify({ currentSigningKey, nextSigningKey: "sig_other" }, request));
  });
});

test("receiver: an expired token is refused, and only the clock's tolerance saves it", async ({ receiver }) => {
  await withServer(["--chaos", "expired-token"], async (server) => {
    const request = await delivered(server, receiver, "b");
    await denied(verify(server.keys, request));
    assert.equal(await verify(server.keys, request, { clockTolerance: 300 }), true);
  });
});

test("receiver: keys and credentials of a region come from the environment", async ({ server, receiver }) => {
  const own = {
    QSTASH_REGION: "EU_CENTRAL_1",
    EU_CENTRAL_1_QSTASH_URL: server.url,
    EU_CENTRAL_1_QSTASH_TOKEN: server.token,
    EU_CENTRAL_1_QSTASH_CURRENT_SIGNING_KEY: server.keys.currentSigningKey,
    EU_CENTRAL_1_QSTASH_NEXT_SIGNING_KEY: server.keys.nextSigningKey,
  };
  Object.assign(process.env, own);
  try {
    await new sdk.Client().publish({ url: receiver.url("/in"), body: "b" });
    await server.settle();
    const [request] = receiver.at("/in");
    assert.equal(await verify(undefined, request, { upstashRegion: request.headers["upstash-region"] }), true);
  } finally {
    for (const name of Object.keys(own)) delete process.env[name];
  }
});
