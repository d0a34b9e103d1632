// What stands around the page in the test: a receiver that fails on command, a line that can be cut, and the server's public API.

import http from "node:http";
import net from "node:net";
import assert from "node:assert/strict";

const listening = (server, port = 0) => new Promise((done) => server.listen(port, "127.0.0.1", () => done(server.address().port)));

// Answers by path, 200 unless told otherwise. It never keeps a connection, so that the test can end.
export async function receiver() {
  const answers = new Map();
  const server = http.createServer((request, response) => {
    const { status = 200, body = "thank you", headers = {} } = answers.get(request.url.split("?")[0]) ?? {};
    request.resume().on("end", () => response.writeHead(status, { Connection: "close", ...headers }).end(body));
  });
  const port = await listening(server);
  const answer = (path, what) => answers.set(path, what);
  return { url: `http://127.0.0.1:${port}`, answer, close: () => server.close() };
}

// A server that goes away and comes back is played by a proxy in front of it, which works with any server.
export async function line(target) {
  const { hostname, port: targetPort } = new URL(target);
  const open = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(Number(targetPort || 80), hostname);
    near.pipe(far).pipe(near);
    for (const socket of [near, far]) open.add(socket.on("error", () => {}).on("close", () => (near.destroy(), far.destroy())));
  });
  const port = await listening(server);
  const cut = () => (server.close(), open.forEach((socket) => socket.destroy()), open.clear());
  return { url: `http://127.0.0.1:${port}`, cut, mend: () => listening(server, port) };
}

// Headers carry bytes, so a text beyond ASCII is sent as its UTF-8 bytes.
const bytes = (text) => Buffer.from(text, "utf8").toString("latin1");

function send(url, method, path, headers, body) {
  const { hostname, port } = new URL(url);
  const given = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, bytes(value)]));
  return new Promise((done, failed) => {
    const request = http.request({ hostname, port, method, path, headers: given, agent: false }, async (response) => {
      let text = "";
      for await (const piece of response) text += piece;
      done({ status: response.statusCode, text });
    });
    request.on("error", failed).end(body);
  });
}

export class Server {
  constructor(url) {
    this.url = url.replace(/\/+$/, "");
  }

  async begin() {
    const { status, text } = await send(this.url, "GET", "/_surehook/state?user=1", {});
    assert.equal(status, 200, `GET /_surehook/state answered ${status}: ${text}`);
    this.state = JSON.parse(text);
    this.token = this.state.users[0].token;
  }

  // The path goes out exactly as written; a URL object would mend what is hostile in it.
  async publish(destination, { body = "{}", ...headers } = {}) {
    const all = { Authorization: `Bearer ${this.token}`, "Content-Type": "application/json", ...headers };
    const { status, text } = await send(this.url, "POST", `/v2/publish/${destination}`, all, body);
    assert.ok(status < 300, `publishing to ${destination} was answered ${status}: ${text}`);
    return JSON.parse(text).messageId;
  }

  // Deletes the entry of a message in the dead-letter queue, as another client would.
  async deleteDead(messageId) {
    const all = { Authorization: `Bearer ${this.token}` };
    const listed = JSON.parse((await send(this.url, "GET", `/v2/dlq?messageId=${messageId}`, all)).text);
    const { status, text } = await send(this.url, "DELETE", `/v2/dlq/${listed.messages[0].dlqId}`, all);
    assert.equal(status, 200, text);
  }

  page() {
    return send(this.url, "GET", "/", {});
  }
}
