// The messages that this page knows of. More are kept than shown, so that a filter finds what a busy list has already passed.

const KEPT = 12_000;
const SLACK = 1000;

const newestFirst = (one, other) => other.summary.createdAt - one.summary.createdAt || other.order - one.order;

export class Feed {
  #known = new Map();
  #heard = 0;

  // Two readings of one message may arrive in the wrong order; the one that was written later holds.
  put(summary) {
    const known = this.#known.get(summary.messageId);
    if (known && known.summary.updatedAt > summary.updatedAt) return;
    const order = known?.order ?? ++this.#heard;
    this.#known.set(summary.messageId, { summary, order, at: ++this.#heard });
    if (this.#known.size > KEPT + SLACK) this.#shorten();
  }

  get(id) {
    return this.#known.get(id)?.summary;
  }

  // What is heard while a list is on its way is newer than the list, so the reader says when it asked.
  mark() {
    return this.#heard;
  }

  // After a restart only the list holds. Otherwise a list with more behind it says nothing about what is older than its last line.
  load(list, asked, { restarted, more }) {
    const listed = new Set(list.map(({ messageId }) => messageId));
    const oldest = !restarted && more ? list.at(-1).sequence : -Infinity;
    for (const [id, { summary, at }] of this.#known) {
      if (!listed.has(id) && at <= asked && summary.sequence >= oldest) this.#known.delete(id);
    }
    this.add(list);
  }

  add(list) {
    for (const summary of list.toReversed()) this.put(summary);
  }

  // The server's log begins here now.
  forget(oldest) {
    for (const [id, { summary }] of this.#known) if (summary.sequence < oldest) this.#known.delete(id);
  }

  clear() {
    this.#known.clear();
  }

  sorted() {
    return [...this.#known.values()].sort(newestFirst).map(({ summary }) => summary);
  }

  #shorten() {
    const old = [...this.#known.values()].sort(newestFirst).slice(KEPT);
    for (const { summary } of old) this.#known.delete(summary.messageId);
  }
}

const SEARCHED = ["messageId", "url", "label", "topicName", "queueName", "scheduleId", "error", "state", "method"];

// Every word must be found somewhere, in any order.
export function matches(summary, words) {
  if (!words.length) return true;
  const text = SEARCHED.map((name) => summary[name] ?? "").join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}
