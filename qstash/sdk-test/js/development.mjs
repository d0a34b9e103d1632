// The SDK's development mode takes a running server for its own instead of downloading one.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, withServer } from "./runner.mjs";
import { SDK_FOLDER } from "./harness.mjs";

const CHILD = join(import.meta.dirname, "development-child.mjs");

// A program of its own, without credentials, at a home of its own: whatever is downloaded would be seen there.
async function develop(home, environment) {
  const env = { PATH: process.env.PATH, HOME: home, SDK_MODULES: SDK_FOLDER, ...environment };
  const { error, stdout, stderr } = await new Promise((done) =>
    execFile(process.execPath, [CHILD], { env, timeout: 30_000 }, (error, stdout, stderr) => done({ error, stdout, stderr })),
  );
  assert.equal(error, null, stdout + stderr);
  assert.match(stdout, /Server already running at/, stdout + stderr);
  assert.match(stdout, /delivered and verified/);
  assert.doesNotMatch(stdout + stderr, /[Dd]ownload|Could not/);
  assert.deepEqual(readdirSync(home), [], "something was downloaded");
}

async function atHome(use) {
  const home = mkdtempSync(join(tmpdir(), "sdk-home-"));
  try {
    return await use(home);
  } finally {
    rmSync(home, { recursive: true });
  }
}

function freePort(wanted = 0) {
  return new Promise((done) => {
    const probe = net.createServer().on("error", () => done(undefined));
    probe.listen(wanted, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

test("development mode: client and receiver need neither token nor keys", async () => {
  const QSTASH_DEV_PORT = `${await freePort()}`;
  const start = { port: [], env: { QSTASH_DEV_PORT } };
  await withServer([], () => atHome((home) => develop(home, { QSTASH_DEV: "true", QSTASH_DEV_PORT })), start);
});

test("development mode: credentials in the environment are passed over", async () => {
  const QSTASH_DEV_PORT = `${await freePort()}`;
  const wrong = { QSTASH_TOKEN: "x", QSTASH_URL: "http://127.0.0.1:1", QSTASH_CURRENT_SIGNING_KEY: "x", QSTASH_NEXT_SIGNING_KEY: "y" };
  const start = { port: ["--port", QSTASH_DEV_PORT] };
  await withServer([], () => atHome((home) => develop(home, { QSTASH_DEV: "1", QSTASH_DEV_PORT, ...wrong })), start);
});

// Another program may have the port on a developer's machine; the test above shows the same with another one.
if (await freePort(8080)) {
  test("development mode: without a word about ports both sides take 8080", async () => {
    await withServer([], () => atHome((home) => develop(home, { QSTASH_DEV: "true" })), { port: [] });
  });
} else {
  console.log("left out  development mode on port 8080, which another program has");
}
