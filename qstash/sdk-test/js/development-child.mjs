// A program as a developer writes it: no token, no keys, no address. Its environment says QSTASH_DEV and perhaps a port.

import assert from "node:assert/strict";
import { Receiver, sdk } from "./harness.mjs";

const receiver = await Receiver.start();
await sdk.startDevServer();
const client = new sdk.Client();
const { messageId } = await client.publishJSON({ url: receiver.url("/in"), body: { a: 1 } });
const deadline = Date.now() + 5_000;
while (receiver.at("/in").length === 0 && Date.now() < deadline) await new Promise((done) => setTimeout(done, 10));
const [{ headers, body, url }] = receiver.at("/in");
assert.equal(headers["upstash-message-id"], messageId);
assert.equal(await new sdk.Receiver().verify({ signature: headers["upstash-signature"], body, url }), true);
console.log("delivered and verified");
receiver.stop();
