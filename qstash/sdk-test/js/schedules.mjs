// Schedules: their life, when they fire, and what they send.

import assert from "node:assert/strict";
import { refused, test } from "./runner.mjs";

const MINUTE = 60_000;
const hourly = (receiver, more = {}) => ({ destination: receiver.url("/in"), cron: "0 * * * *", ...more });

test("schedule: it fires at its minutes, and says which schedule it was", async ({ server, receiver, client }) => {
  const { scheduleId } = await client.schedules.create({
    destination: receiver.url("/in"),
    cron: "* * * * *",
    body: "tick",
    method: "PUT",
    headers: { "X-A": "1" },
  });
  await server.settle();
  assert.equal(receiver.at("/in").length, 0, "it does not fire when it is made");
  await server.advance("3m");
  const [{ body, method, headers }] = receiver.at("/in");
  assert.deepEqual(
    [receiver.at("/in").length, body, method, headers["x-a"], headers["upstash-schedule-id"]],
    [3, "tick", "PUT", "1", scheduleId],
  );
  assert.equal(new Set(receiver.at("/in").map(({ headers }) => headers["upstash-message-id"])).size, 3);
});

test("schedule: what it was made with is shown", async ({ receiver, client }) => {
  const callback = receiver.url("/cb"),
    failureCallback = receiver.url("/fcb");
  const { scheduleId } = await client.schedules.create(
    hourly(receiver, {
      body: "b",
      headers: { "X-A": "1", "Content-Type": "text/plain" },
      method: "PATCH",
      delay: 60,
      retries: 2,
      retryDelay: "1000",
      timeout: "30s",
      callback,
      failureCallback,
      label: ["l", "m"],
      flowControl: { key: "k", rate: 5, parallelism: 2, period: "1m" },
    }),
  );
  const one = await client.schedules.get(scheduleId);
  assert.deepEqual(
    [one.scheduleId, one.cron, one.destination, one.method, one.body],
    [scheduleId, "0 * * * *", receiver.url("/in"), "PATCH", "b"],
  );
  assert.deepEqual([one.retries, one.delay, one.retryDelayExpression, one.timeout, one.isPaused], [2, 60, "1000", 30, false]);
  assert.deepEqual([one.callback, one.failureCallback, one.label, one.labels], [callback, failureCallback, "l", ["l", "m"]]);
  assert.deepEqual([one.flowControlKey, one.rate, one.ratePerSecond, one.parallelism, one.period], ["k", 5, 5, 2, 60]);
  assert.deepEqual([one.header["X-A"], one.header["Content-Type"], one.callerIP], [["1"], ["text/plain"], "127.0.0.1"]);
});

test("schedule: without a content type the SDK says JSON", async ({ server, receiver, client }) => {
  await client.schedules.create(hourly(receiver, { body: "{}" }));
  await server.advance("1h");
  assert.equal(receiver.at("/in")[0].headers["content-type"], "application/json");
});

test("schedule: its options hold for what it sends", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 500 });
  await client.schedules.create(
    hourly(receiver, { retries: 1, retryDelay: "1000", delay: "5m", failureCallback: receiver.url("/fcb"), label: "l" }),
  );
  const start = (await client.schedules.list())[0].nextScheduleTime;
  await server.call("POST", "/_surehook/clock", { to: start + 4 * MINUTE });
  assert.equal(receiver.at("/in").length, 0, "it came before its delay");
  await server.advance("2m");
  assert.deepEqual([receiver.at("/in").length, receiver.at("/fcb").length], [2, 1]);
  const { messages } = await client.dlq.listMessages();
  assert.deepEqual(
    messages.map(({ label, scheduleId }) => [label, typeof scheduleId]),
    [["l", "string"]],
  );
});

test("schedule: it knows when it fired, when it fires next and how that went", async ({ server, receiver, client }) => {
  receiver.answer("/in", (before) => ({ status: before === 0 ? 200 : 500 }));
  const { scheduleId } = await client.schedules.create(hourly(receiver, { retries: 0 }));
  const first = (await client.schedules.get(scheduleId)).nextScheduleTime;
  assert.equal(first % (60 * MINUTE), 0, `not on the hour: ${first}`);
  const seen = [];
  for (const at of [first, first + 60 * MINUTE]) {
    await server.call("POST", "/_surehook/clock", { to: at });
    const { lastScheduleTime, nextScheduleTime, lastScheduleStates } = await client.schedules.get(scheduleId);
    seen.push([lastScheduleTime - first, nextScheduleTime - first, Object.values(lastScheduleStates)]);
  }
  assert.deepEqual(seen, [
    [0, 60 * MINUTE, ["SUCCESS"]],
    [60 * MINUTE, 120 * MINUTE, ["FAIL"]],
  ]);
});

test("schedule: a message that is under way is in progress", async ({ server, receiver, client }) => {
  receiver.answer("/in", { status: 500 });
  const { scheduleId } = await client.schedules.create(hourly(receiver));
  await server.next();
  const [[id, state]] = Object.entries((await client.schedules.get(scheduleId)).lastScheduleStates);
  assert.deepEqual([(await client.messages.get(id)).scheduleId, state], [scheduleId, "IN_PROGRESS"]);
});

for (const [zone, hour] of [
  ["Asia/Tokyo", 0],
  ["UTC", 9],
]) {
  test(`schedule: nine o'clock in ${zone}`, async ({ receiver, client }) => {
    const cron = `CRON_TZ=${zone} 0 9 * * *`;
    const { scheduleId } = await client.schedules.create({ destination: receiver.url("/in"), cron });
    const one = await client.schedules.get(scheduleId);
    assert.deepEqual([one.cron, new Date(one.nextScheduleTime).getUTCHours(), one.nextScheduleTime % (60 * MINUTE)], [cron, hour, 0]);
  });
}

test("schedule: it can send through a queue", async ({ server, receiver, client }) => {
  await client.queue({ queueName: "line" }).upsert({ paused: true });
  const { scheduleId } = await client.schedules.create(hourly(receiver, { queueName: "line", body: "x" }));
  assert.equal((await client.schedules.get(scheduleId)).queueName, "line");
  await server.advance("2h");
  assert.deepEqual([receiver.at("/in").length, (await client.queue({ queueName: "line" }).get()).lag], [0, 2]);
  await client.queue({ queueName: "line" }).resume();
  await server.settle();
  assert.equal(receiver.at("/in").length, 2);
});

test("schedule: it can send to a URL group", async ({ server, receiver, client }) => {
  await client.urlGroups.addEndpoints({ name: "both", endpoints: [{ url: receiver.url("/g1") }, { url: receiver.url("/g2") }] });
  const { scheduleId } = await client.schedules.create(hourly(receiver, { destination: "both" }));
  await server.advance("1h");
  assert.deepEqual([receiver.at("/g1").length, receiver.at("/g2").length], [1, 1]);
  assert.equal(Object.keys((await client.schedules.get(scheduleId)).lastScheduleStates).length, 2);
});

test("schedule: its own id makes it or changes it", async ({ server, receiver, client }) => {
  const own = (more) => client.schedules.create(hourly(receiver, { scheduleId: "mine", ...more }));
  assert.equal((await own({ body: "old" })).scheduleId, "mine");
  const { createdAt } = await client.schedules.get("mine");
  await server.advance("1s");
  await own({ body: "new", cron: "30 * * * *" });
  const all = await client.schedules.list();
  assert.deepEqual(
    all.map((one) => [one.scheduleId, one.cron, one.body, one.createdAt]),
    [["mine", "30 * * * *", "new", createdAt]],
  );
  await server.advance("1h");
  assert.deepEqual(receiver.bodies("/in"), ["new"]);
});

test("schedule: while it is paused it does not fire", async ({ server, receiver, client }) => {
  const { scheduleId } = await client.schedules.create(hourly(receiver));
  await client.schedules.pause({ schedule: scheduleId });
  assert.equal((await client.schedules.get(scheduleId)).isPaused, true);
  await server.advance("3h");
  assert.equal(receiver.at("/in").length, 0);
  await client.schedules.resume({ schedule: scheduleId });
  assert.equal((await client.schedules.get(scheduleId)).isPaused, false);
  await server.advance("1h");
  assert.equal(receiver.at("/in").length, 1);
});

test("schedule: a deleted one is gone and fires no more", async ({ server, receiver, client }) => {
  const { scheduleId } = await client.schedules.create(hourly(receiver));
  await client.schedules.delete(scheduleId);
  await server.advance("3h");
  assert.deepEqual([await client.schedules.list(), receiver.at("/in").length], [[], 0]);
  for (const act of ["get", "delete"]) await refused(client.schedules[act](scheduleId), 404);
  await refused(client.schedules.pause({ schedule: scheduleId }), 404);
});

test("schedule: redacted fields are shown as digests and sent whole", async ({ server, receiver, client }) => {
  const { scheduleId } = await client.schedules.create(
    hourly(receiver, { body: "card 42", headers: { "X-Key": "s" }, redact: { body: true, header: ["X-Key"] } }),
  );
  const { body, header } = await client.schedules.get(scheduleId);
  assert.match(`${body} ${header["X-Key"][0]}`, /^REDACTED:[0-9a-f]{64} REDACTED:[0-9a-f]{64}$/);
  await server.advance("1h");
  assert.deepEqual([receiver.at("/in")[0].body, receiver.at("/in")[0].headers["x-key"]], ["card 42", "s"]);
});

test("schedule: what is no cron expression, time zone or id is refused", async ({ receiver, client }) => {
  for (const cron of ["whenever", "61 * * * *", "CRON_TZ=Moon/Sea 0 9 * * *", "* * * * * * *"])
    await refused(client.schedules.create(hourly(receiver, { cron })), 400);
  await refused(client.schedules.create(hourly(receiver, { scheduleId: "a/b" })), 400);
});
