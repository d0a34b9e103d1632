// What the tests stand on: the SDK, servers that are started for a test, and a receiver that records what it gets.
// SUREHOOK names the program under test; SDK_MODULES names a folder with the SDK in its node_modules, this folder if it is not set.

import http from "node:http";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";

export const SDK_FOLDER = process.env.SDK_MODULES ?? import.meta.dirname;
export const sdk = createRequire(`${SDK_FOLDER}/`)("@upstash/qstash");
const PROGRAM = process.env.SUREHOOK ?? "surehook";
const PATIENCE = 10_000;
const children = new Set();

// An exit in the middle of a test must not leave servers behind.
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Polls a state until it is as wanted; the deadline only bounds a failure.
export async function until(what, condition) {
  const deadline = Date.now() + PATIENCE;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`in vain waited until ${what}`);
    await pause(10);
  }
}

// The server says where it is and which credentials it has before it says anything else.
function greeting(child) {
  return new Promise((done, failed) => {
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      said += text;
      if (said.includes("QSTASH_NEXT_SIGNING_KEY=")) done(said);
    });
    child.stderr.setEncoding("utf8").on("data", (text) => (said += text));
    child.on("exit", (code) => failed(new Error(`the server ended with ${code}: ${said}`)));
    setTimeout(() => failed(new Error(`the server did not start: ${said}`)), PATIENCE).unref();
  });
}

export class Server {
  // The clock stands unless a test says otherwise, so that nothing waits for real time.
  static async start(flags = [], { port = ["--port", "0"], env = {} } = {}) {
    const clock = flags.some((flag) => ["--clock", "--speed"].includes(flag)) ? [] : ["--clock", "stepped"];
    const args = ["qstash", ...port, ...clock, "--quiet", ...flags];
    const server = new Server();
    server.child = spawn(PROGRAM, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    children.add(server.child);
    const said = await greeting(server.child);
    const value = (name) => new RegExp(`${name}=(\\S+)`).exec(said)[1];
    server.url = /running at (\S+)/.exec(said)[1];
    server.token = value("QSTASH_TOKEN");
    server.keys = { currentSigningKey: value("QSTASH_CURRENT_SIGNING_KEY"), nextSigningKey: value("QSTASH_NEXT_SIGNING_KEY") };
    return server;
  }

  client(more = {}) {
    return new sdk.Client({ baseUrl: this.url, token: this.token, retry: false, ...more });
  }

  // Calls that no SDK makes.
  async call(method, path, body) {
    const headers = { Authorization: `Bearer ${this.token}` };
    const response = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} was answered ${response.status}: ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  // Every delivery of each time that is passed is over when this returns.
  advance(span) {
    return this.call("POST", "/_surehook/clock", { advance: span });
  }

  next(times = 1) {
    return this.call("POST", "/_surehook/clock", { next: times });
  }

  settle() {
    return this.next(0);
  }

  reset() {
    return this.call("POST", "/_surehook/reset");
  }

  rotate() {
    return this.call("POST", "/v2/keys/rotate");
  }

  async now() {
    return (await this.call("GET", "/_surehook/clock")).now;
  }

  stop() {
    this.child.removeAllListeners("exit");
    this.child.kill();
    children.delete(this.child);
  }
}

// Answers 200 unless told otherwise, path by path. An answer may be a function of how many requests came to that path before.
export class Receiver {
  static async start() {
    const receiver = new Receiver();
    receiver.server = http.createServer((request, response) => receiver.take(request, response));
    await new Promise((done) => receiver.server.listen(0, "127.0.0.1", done));
    receiver.origin = `http://127.0.0.1:${receiver.server.address().port}`;
    receiver.reset();
    return receiver;
  }

  reset() {
    this.release?.();
    [this.requests, this.answers] = [[], new Map()];
    this.held = new Promise((release) => (this.release = release));
  }

  async take(request, response) {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const path = request.url.split("?")[0];
    const before = this.at(path).length;
    const { method, headers, url: target } = request;
    const bytes = Buffer.concat(pieces);
    const names = request.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase());
    this.requests.push({ method, path, target, url: this.origin + target, headers, names, bytes, body: bytes.toString() });
    const given = this.answers.get(path) ?? {};
    const { status = 200, body = "thank you", headers: own = {}, hold } = typeof given === "function" ? given(before) : given;
    if (hold) await this.held;
    response.writeHead(status, { Connection: "close", ...own }).end(body);
  }

  url(path) {
    return this.origin + path;
  }

  answer(path, given) {
    this.answers.set(path, given);
  }

  at(path) {
    return this.requests.filter((request) => request.path === path);
  }

  bodies(path) {
    return this.at(path).map((request) => request.body);
  }

  stop() {
    this.release();
    this.server.close();
    this.server.closeAllConnections();
  }
}
