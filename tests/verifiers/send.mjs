// Signs events with the official libraries of senders, for our verifier to judge: one JSON object a line.
import { createRequire } from "node:module";

const [folder] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { Webhook } = require("standardwebhooks");
const { default: Stripe } = await import(require.resolve("stripe"));
// It exports itself to modules only, which are not looked up in another folder.
const { sign } = await import(`${folder}/node_modules/@octokit/webhooks-methods/dist-node/index.js`);

const bodies = ["", "{}", '{"id":"1","größe":"✓","n": 1.00}\n', "a=b&c=%20", `{"x":"${"y".repeat(100000)}"}`];
const stripe = new Stripe("sk_test_none").webhooks;
const standard = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const now = new Date();
const timestamp = Math.floor(now / 1000);
const tell = (recipe, secret, headers, body) => console.log(JSON.stringify({ recipe, secret, headers, body }));
for (const body of bodies) {
  tell("stripe", "whsec_x", { "stripe-signature": stripe.generateTestHeaderString({ payload: body, secret: "whsec_x", timestamp }) }, body);
  if (body !== "") {
    tell("github", "s3cret", { "x-hub-signature-256": await sign("s3cret", body) }, body);
  }
  const signed = new Webhook(standard).sign("msg_1", now, body);
  tell("standard-webhooks", standard, { "webhook-id": "msg_1", "webhook-timestamp": `${timestamp}`, "webhook-signature": signed }, body);
}
