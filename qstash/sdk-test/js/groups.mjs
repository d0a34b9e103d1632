// URL groups, which were called topics.

import assert from "node:assert/strict";
import { refused, test } from "./runner.mjs";

const names = (groups) => groups.map(({ name }) => name);

async function make(client, receiver, name = "shop") {
  await client.urlGroups.addEndpoints({ name, endpoints: [{ name: "first", url: receiver.url("/g1") }, { url: receiver.url("/g2") }] });
}

test("url group: its endpoints are shown as they were added", async ({ receiver, client }) => {
  await make(client, receiver);
  const group = await client.urlGroups.get("shop");
  assert.deepEqual(group.endpoints, [{ name: "first", url: receiver.url("/g1") }, { url: receiver.url("/g2") }]);
  assert.ok(group.name === "shop" && group.createdAt > 0 && group.updatedAt >= group.createdAt, JSON.stringify(group));
});

test("url group: groups are listed, and the old name of the API does the same", async ({ receiver, client }) => {
  await make(client, receiver, "a");
  await client.topics.addEndpoints({ name: "b.c-d_1", endpoints: [{ url: receiver.url("/g1") }] });
  assert.deepEqual(names(await client.urlGroups.list()), ["a", "b.c-d_1"]);
  await client.topics.delete("a");
  assert.deepEqual(names(await client.topics.list()), ["b.c-d_1"]);
});

test("url group: each endpoint gets the message, and hears of the group", async ({ server, receiver, client }) => {
  await make(client, receiver);
  for (const field of ["urlGroup", "topic"]) {
    const answered = await client.publishJSON({ [field]: "shop", body: { by: field } });
    assert.deepEqual(
      answered.map(({ url }) => url),
      [receiver.url("/g1"), receiver.url("/g2")],
    );
    assert.equal(new Set(answered.map(({ messageId }) => messageId)).size, 2);
  }
  await server.settle();
  for (const path of ["/g1", "/g2"]) assert.deepEqual(receiver.bodies(path).sort(), ['{"by":"topic"}', '{"by":"urlGroup"}']);
  assert.equal(receiver.at("/g1")[0].headers["upstash-topic-name"], "shop");
});

test("url group: messages say which group and endpoint they are for", async ({ receiver, client }) => {
  await make(client, receiver);
  const [first, second] = await client.publish({ urlGroup: "shop", delay: 60 });
  const { urlGroup, endpointName } = await client.messages.get(first.messageId);
  assert.deepEqual([urlGroup, endpointName], ["shop", "first"]);
  assert.equal((await client.messages.get(second.messageId)).endpointName, undefined);
});

test("url group: a group of one is answered with an array too", async ({ receiver, client }) => {
  await client.urlGroups.addEndpoints({ name: "one", endpoints: [{ url: receiver.url("/g1") }] });
  assert.equal((await client.publish({ urlGroup: "one", delay: 60 })).length, 1);
});

test("url group: a copy is recognised for all its endpoints", async ({ server, receiver, client }) => {
  await make(client, receiver);
  const publish = () => client.publish({ urlGroup: "shop", deduplicationId: "same" });
  const [first, second] = [await publish(), await publish()];
  await server.settle();
  assert.deepEqual(
    second.map(({ messageId, deduplicated }) => [messageId, deduplicated]),
    first.map(({ messageId }) => [messageId, true]),
  );
  assert.equal(receiver.requests.length, 2);
});

test("url group: an endpoint that is added again is changed", async ({ receiver, client }) => {
  await make(client, receiver);
  await client.urlGroups.addEndpoints({ name: "shop", endpoints: [{ name: "first", url: receiver.url("/g3") }] });
  const { endpoints } = await client.urlGroups.get("shop");
  assert.deepEqual(
    endpoints.find(({ name }) => name === "first"),
    { name: "first", url: receiver.url("/g3") },
  );
  assert.equal(endpoints.length, 2, JSON.stringify(endpoints));
});

test("url group: endpoints are removed by name and by URL, and with the last one the group", async ({ receiver, client }) => {
  await make(client, receiver);
  await client.urlGroups.removeEndpoints({ name: "shop", endpoints: [{ name: "first" }] });
  assert.deepEqual((await client.urlGroups.get("shop")).endpoints, [{ url: receiver.url("/g2") }]);
  await client.urlGroups.removeEndpoints({ name: "shop", endpoints: [{ url: receiver.url("/g2") }] });
  await refused(client.urlGroups.get("shop"), 404);
});

test("url group: it can be deleted, and one that does not exist too", async ({ receiver, client }) => {
  await make(client, receiver);
  await client.urlGroups.delete("shop");
  assert.deepEqual(await client.urlGroups.list(), []);
  await client.urlGroups.delete("shop");
  await refused(client.publish({ urlGroup: "shop" }), 404);
});

test("url group: a bad name and a bad URL are refused", async ({ receiver, client }) => {
  await refused(client.urlGroups.addEndpoints({ name: "a b", endpoints: [{ url: receiver.url("/g1") }] }), 400);
  await refused(client.urlGroups.addEndpoints({ name: "a", endpoints: [{ url: "nowhere" }] }), 400);
});
