// The server's words for a message's state, what a person reads instead, and which of them belong together.

const STATES = {
  CREATED: ["Created", "waiting"],
  ACTIVE: ["Active", "active"],
  ERROR: ["Error", "trouble"],
  RETRY: ["Retrying", "trouble"],
  DELIVERED: ["Delivered", "delivered"],
  FAILED: ["Failed", "failed"],
  CANCEL_REQUESTED: ["Cancelling", "cancelled"],
  CANCELLED: ["Cancelled", "cancelled"],
};

// A state that this page has never heard of is shown by the server's own word.
const known = (state) => (Object.hasOwn(STATES, state) ? STATES[state] : [String(state), "waiting"]);

export const stateWord = (state) => known(state)[0];
export const stateClass = (state) => `state is-${known(state)[1]}`;

export const isWaiting = ({ state }) => state === "CREATED" || state === "RETRY" || state === "ERROR";
export const isCancelled = ({ state }) => state === "CANCEL_REQUESTED" || state === "CANCELLED";

export const FILTERS = {
  all: { word: "All", takes: () => true },
  waiting: { word: "Waiting", takes: isWaiting },
  active: { word: "Active", takes: ({ state }) => state === "ACTIVE" },
  delivered: { word: "Delivered", takes: ({ state }) => state === "DELIVERED" },
  failed: { word: "Failed", takes: ({ state }) => state === "FAILED" },
  cancelled: { word: "Cancelled", takes: isCancelled },
};

// A status of 0 is how the server says that nobody answered at all.
export function answerWord(status) {
  if (status === undefined || status === null) return "–";
  return status === 0 ? "no answer" : String(status);
}

export function answerClass(status) {
  if (status === undefined || status === null) return "answer faint";
  return `answer ${status >= 200 && status < 300 ? "is-delivered" : "is-failed"}`;
}

// A first delivery is an attempt too, so there is one more than there are retries.
export const attemptsWord = ({ attempts = 0, maxRetries = 0 }) => `${attempts} of ${maxRetries + 1}`;

export function reasonOf({ state, error, responseStatus }) {
  if (state === "DELIVERED" || state === "ACTIVE") return undefined;
  if (error) return error;
  if (responseStatus === 0) return "no answer came";
  return responseStatus >= 300 || responseStatus < 200 ? `answered ${responseStatus}` : undefined;
}
