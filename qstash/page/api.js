// All talk with the server is here: reading, the live stream, and what a person may do to a message.

const here = { user: 1, token: "" };

export function speakAs(user, token = "") {
  Object.assign(here, { user, token });
}

export const token = () => here.token;
export const user = () => here.user;

async function ask(method, path, body) {
  const headers = path.startsWith("/v2/") ? { Authorization: `Bearer ${here.token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" }).catch(unreachable);
  const text = await answer.text();
  if (!answer.ok) throw Object.assign(new Error(reason(answer, text)), { status: answer.status });
  return parsed(text);
}

function unreachable() {
  throw Object.assign(new Error("The server does not answer."), { status: 0 });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

function reason(answer, text) {
  const { error } = parsed(text) ?? {};
  return typeof error === "string" ? error : `The server answered ${answer.status}.`;
}

const local = (path, more = "") => `/_surehook/${path}?user=${here.user}${more}`;
const part = encodeURIComponent;

export const readState = () => ask("GET", local("state"));
// The server filters and searches all that its log has. `next` leads to the messages that are older than these.
// A page of the messages or of the dead letters, which "messages" and "dlq" name.
export function readRows(of, chosen) {
  const more = Object.entries(chosen).filter(([, value]) => value);
  return ask("GET", local(of, ["&count=200", ...more.map(([name, value]) => `${name}=${part(value)}`)].join("&")));
}
export const readMessage = (id) => ask("GET", local(`messages/${part(id)}`));

export const cancel = ({ messageId }) => ask("DELETE", `/v2/messages/${part(messageId)}`);
export const tryNow = ({ messageId }) => ask("POST", local(`messages/${part(messageId)}/now`));
export const retry = ({ dlqId }) => ask("POST", `/v2/dlq/retry/${part(dlqId)}`);
export const remove = ({ dlqId }) => ask("DELETE", `/v2/dlq/${part(dlqId)}`);
export const moveClock = (step) => ask("POST", "/_surehook/clock", step);

// The browser would reconnect by itself, but it gives up for good when a starting server answers with an error, and it says nothing.
export class Live {
  #source;
  #timer;
  #told;
  #wait = 500;

  constructor(told) {
    this.#told = told;
  }

  open() {
    this.close();
    const source = (this.#source = new EventSource(local("live")));
    source.addEventListener("open", () => this.#opened());
    source.addEventListener("message", (event) => this.#heard(event));
    source.addEventListener("lagged", () => this.#told.lagged());
    source.addEventListener("error", () => this.#lost());
  }

  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
  }

  #opened() {
    this.#wait = 500;
    this.#told.opened();
  }

  #heard(event) {
    const summary = parsed(event.data);
    if (summary?.messageId) this.#told.heard(summary);
  }

  #lost() {
    this.close();
    this.#told.lost();
    this.#timer = setTimeout(() => this.open(), this.#wait);
    this.#wait = Math.min(this.#wait * 1.5, 3000);
  }
}
