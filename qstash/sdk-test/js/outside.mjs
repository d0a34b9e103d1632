// What the SDK offers besides queueing: language models, e-mail and workflows. The server has none of it, and says so; what is
// plain publishing underneath works.

import assert from "node:assert/strict";
import { sdk } from "./harness.mjs";
import { refused, test } from "./runner.mjs";

const chat = { model: "m", messages: [{ role: "user", content: "hi" }] };

test("outside: QStash's own language model is refused", async ({ receiver, client }) => {
  const request = () => ({ api: { name: "llm", provider: sdk.upstash() }, body: chat, callback: receiver.url("/cb") });
  assert.match((await refused(client.publishJSON(request()), 400)).message, /not served here/);
  await refused(client.queue({ queueName: "q" }).enqueueJSON(request()), 400);
  await refused(client.batchJSON([request()]), 400);
});

test("outside: another provider's language model is a destination like any other", async ({ server, receiver, client }) => {
  receiver.answer("/v1/chat/completions", { body: '{"choices":[]}' });
  const provider = sdk.custom({ baseUrl: receiver.origin, token: "theirs" });
  await client.publishJSON({ api: { name: "llm", provider }, body: chat, callback: receiver.url("/cb") });
  await server.settle();
  const [{ headers, body }] = receiver.at("/v1/chat/completions");
  assert.deepEqual([headers.authorization, JSON.parse(body)], ["Bearer theirs", chat]);
  assert.equal(receiver.at("/cb").length, 1);
});

test("outside: an e-mail is a message to the provider", async ({ client }) => {
  const email = { from: "a@shop.example", to: ["b@shop.example"], subject: "s", html: "h" };
  const { messageId } = await client.publishJSON({
    api: { name: "email", provider: sdk.resend({ token: "theirs" }) },
    body: email,
    delay: 3_600,
  });
  const { url, header } = await client.messages.get(messageId);
  assert.deepEqual([new URL(url).pathname, header.Authorization], ["/emails", ["Bearer theirs"]]);
  await client.messages.cancel(messageId);
});

test("outside: chat completions are not found", async ({ client }) => {
  await refused(client.chat().create({ provider: sdk.upstash(), ...chat }), 404);
  await refused(client.chat().prompt({ provider: sdk.upstash(), model: "m", system: "s", user: "u" }), 404);
});

test("outside: workflow runs are not found", async ({ client }) => {
  await refused(client.workflow.cancel("wfr_1"), 404);
});
