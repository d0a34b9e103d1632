// Refusals, by the SDK's classes.

import assert from "node:assert/strict";
import { sdk } from "./harness.mjs";
import { refused, test, withServer } from "./runner.mjs";

const DAY = 86_400;

test("error: a wrong token is refused everywhere with 401", async ({ server, receiver }) => {
  const client = server.client({ token: "nobody's" });
  const { message } = await refused(client.publish({ url: receiver.url("/in") }), 401);
  assert.match(message, /unable to authenticate: invalid token/);
  const calls = [
    () => client.logs(),
    () => client.dlq.listMessages(),
    () => client.queue().list(),
    () => client.schedules.list(),
    () => client.batch([]),
  ];
  for (const call of calls) await refused(call(), 401);
});

test("error: a refusal is an object with one text", async ({ receiver, client }) => {
  const error = await refused(client.publish({ url: receiver.url("/in"), delay: "soon" }), 400);
  assert.ok(error instanceof sdk.QstashError);
  assert.deepEqual(Object.keys(JSON.parse(error.message)), ["error"]);
  assert.match(JSON.parse(error.message).error, /Upstash-Delay/);
});

for (const url of ["ftp://h/x", "h.example/x", encodeURIComponent("https://h.example/x")]) {
  test(`error: ${url} is no destination`, async ({ client }) => {
    const { message } = await refused(client.publish({ url }), 400);
    assert.match(message, /endpoint has invalid scheme, add http:\/\/ or https:\/\//);
  });
}

test("error: options that can't be read are refused by their name", async ({ receiver, client }) => {
  const url = receiver.url("/in");
  const bad = {
    "Upstash-Retry-Delay": { retryDelay: "soon(" },
    "Upstash-Timeout": { timeout: "0s" },
    "Upstash-Callback": { callback: "nowhere" },
    "Upstash-Failure-Callback": { failureCallback: "nowhere" },
    "Upstash-Flow-Control-Value": { flowControl: { key: "k", rate: -1 } },
    "Upstash-Method": { method: "BREW" },
  };
  for (const [name, option] of Object.entries(bad))
    assert.match((await refused(client.publish({ url, ...option }), 400)).message, new RegExp(name));
});

test("error: a group that does not exist is not found", async ({ client }) => {
  await refused(client.publish({ urlGroup: "nobody" }), 404);
});

test("error: a callback with a delay is refused", async ({ receiver, client }) => {
  await refused(
    client.publish({ url: receiver.url("/in"), callback: receiver.url("/cb"), headers: { "Upstash-Callback-Delay": "5s" } }),
    400,
  );
});

test("error: what goes beyond the plan is refused with 412", async ({ receiver }) => {
  await withServer(["--plan", "free"], async (_, client) => {
    const url = receiver.url("/in");
    for (const option of [{ retries: 6 }, { delay: "8d" }, { body: "x".repeat(1024 * 1024 + 1) }]) {
      assert.match((await refused(client.publish({ url, ...option }), 412)).message, /quota max\w+ exceeded, current limit: \d+/);
    }
    await refused(client.queue({ queueName: "q" }).upsert({ parallelism: 3 }), 412);
    await client.urlGroups.addEndpoints({ name: "one", endpoints: [{ url }] });
    await refused(client.urlGroups.addEndpoints({ name: "two", endpoints: [{ url }] }), 412);
    for (let number = 0; number < 10; number += 1) await client.schedules.create({ destination: url, cron: "0 0 1 1 *" });
    await refused(client.schedules.create({ destination: url, cron: "0 0 1 1 *" }), 412);
  });
});

test("error: after the messages of the day comes the daily limit, until the next day", async ({ receiver }) => {
  await withServer(["--plan", "free"], async (server, client) => {
    const message = () => ({ url: receiver.url("/in"), delay: "1h" });
    await client.batch(Array.from({ length: 1_000 }, message));
    const limit = await refused(client.publish(message()), 429, "QstashDailyRatelimitError");
    const midnight = Math.ceil((await server.now()) / 1_000 / DAY) * DAY;
    assert.deepEqual([limit.limit, limit.remaining, limit.reset], ["1000", "0", `${midnight}`]);
    await refused(client.queue({ queueName: "q" }).enqueue({ url: receiver.url("/in") }), 429, "QstashDailyRatelimitError");
    await client.messages.cancel({ all: true });
    await server.call("POST", "/_surehook/clock", { to: midnight * 1_000 });
    assert.match((await client.publish(message())).messageId, /^msg_/);
  });
});

test("error: a service that is away is not called again by the SDK", async ({ receiver }) => {
  await withServer(["--chaos", "away"], async (server) => {
    await refused(server.client({ retry: { retries: 3, backoff: () => 1 } }).publish({ url: receiver.url("/in") }), 503);
  });
});

test("error: accounts of different tokens have nothing in common", async ({ server, receiver, client }) => {
  const { users } = await server.call("GET", "/_surehook/state");
  const other = server.client({ token: users[1].token });
  const { messageId } = await client.publish({ url: receiver.url("/in"), delay: 60 });
  await refused(other.messages.get(messageId), 404);
  assert.deepEqual([(await other.logs()).logs, (await other.messages.cancel({ all: true })).cancelled], [[], 0]);
});
