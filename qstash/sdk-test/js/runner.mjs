// Runs tests one after another, each with a server that has forgotten everything, and ends at the first that fails.

import assert from "node:assert/strict";
import { format } from "node:util";
import { Receiver, Server } from "./harness.mjs";

const LONGEST = 60_000;
const tests = [];
const print = console.log;

// Whoever develops with QStash may have told the SDK and the server where to be; the tests tell them themselves.
for (const name of Object.keys(process.env)) if (/QSTASH/.test(name)) delete process.env[name];

export const test = (name, run) => tests.push({ name, run });

// The SDK tells the console of every refused call, which tests ask for; it is shown where a test fails.
const told = [];
for (const kind of ["log", "warn", "error"]) console[kind] = (...words) => told.push(format(...words));

// What a call is refused with: the SDK's class and the status it has.
export async function refused(promise, status, type) {
  const error = await promise.then(
    (value) => assert.fail(`it was accepted: ${JSON.stringify(value)}`),
    (error) => error,
  );
  assert.equal(error.constructor.name, type ?? "QstashError", String(error));
  if (status !== undefined) assert.equal(error.status, status, String(error));
  return error;
}

// A server with flags of its own, for as long as a test uses it.
export async function withServer(flags, use, more) {
  const server = await Server.start(flags, more);
  try {
    return await use(server, server.client());
  } finally {
    server.stop();
  }
}

function deadline(name) {
  return new Promise((_, failed) => setTimeout(() => failed(new Error(`"${name}" took too long`)), LONGEST).unref());
}

// What the test before left under way arrives before anything is recorded for the next one.
async function forget(server, receiver) {
  receiver.reset();
  await server.settle();
  await server.reset();
  receiver.reset();
}

async function runOne({ name, run }, server, receiver) {
  told.length = 0;
  await forget(server, receiver);
  try {
    await Promise.race([run({ server, receiver, client: server.client() }), deadline(name)]);
  } catch (error) {
    print(`FAILED  ${name}\n${error.stack}\n${told.join("\n")}`);
    return false;
  }
  print(`ok  ${name}`);
  return true;
}

// Only tests whose names contain `only` are run, if it is given.
export async function runAll(only = "") {
  const chosen = tests.filter(({ name }) => name.includes(only));
  const [server, receiver] = [await Server.start(), await Receiver.start()];
  let passed = 0;
  for (const one of chosen) {
    if (!(await runOne(one, server, receiver))) break;
    passed += 1;
  }
  const isWhole = passed === chosen.length && passed > 0;
  print(`${passed} passed, ${isWhole ? 0 : 1} failed`);
  receiver.stop();
  process.exit(isWhole ? 0 : 1);
}
