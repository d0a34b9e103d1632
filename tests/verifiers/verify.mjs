// Verifies deliveries with the official Standard Webhooks library for JavaScript, each with each secret.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, file] = process.argv.slice(2);
const { Webhook } = createRequire(`${folder}/`)("standardwebhooks");
const { secrets, deliveries } = JSON.parse(readFileSync(file, "utf8"));
let verified = 0;
for (const secret of secrets) {
  const webhook = new Webhook(secret);
  for (const { headers, body } of deliveries) {
    webhook.verify(body, headers);
    verified += 1;
    try {
      webhook.verify(`${body} `, headers);
    } catch {
      continue;
    }
    throw new Error("another body was verified too");
  }
}
console.log(`${verified} signatures verified`);
