// Times are read by the server's clock, which may run faster than ours or stand still until somebody moves it.

const clock = { now: Date.now(), mode: "real", speed: 1, shownSpeed: 1, readAt: performance.now() };

export function setClock({ now, mode, speed, shownSpeed }) {
  Object.assign(clock, { now, mode, speed, shownSpeed, readAt: performance.now() });
}

// The server's delays may run faster than the times that it shows.
export const serverNow = () => clock.now + (performance.now() - clock.readAt) * clock.shownSpeed;

const UNITS = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1000]];

// Two units are enough to judge a time, and one is enough once it is a matter of seconds.
export function duration(milliseconds) {
  const left = Math.max(0, Math.floor(milliseconds / 1000) * 1000);
  const at = UNITS.findIndex(([, length]) => left >= length);
  if (at < 0) return "0 s";
  const [unit, length] = UNITS[at];
  const next = UNITS[at + 1];
  const rest = next ? Math.floor((left % length) / next[1]) : 0;
  return `${Math.floor(left / length)} ${unit}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

// The exact length matters between attempts, where milliseconds tell a refusal from a slow answer.
export function exactly(milliseconds) {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return milliseconds < 60_000 ? `${(milliseconds / 1000).toFixed(1)} s` : duration(milliseconds);
}

export const age = (time) => duration(serverNow() - time);

// A countdown that has run out says "due", since the server may need a moment or a step of its clock.
export function countdown(time) {
  const left = time - serverNow();
  return left <= 0 ? "due" : `in ${duration(left + 999)}`;
}

const pad = (value, length = 2) => String(value).padStart(length, "0");

export function clockTime(time) {
  const date = new Date(time);
  return `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

export function dayAndTime(time) {
  const date = new Date(time);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clockTime(time)}.${pad(date.getMilliseconds(), 3)}`;
}

export const clockMode = () => ({ real: "real time", speed: `${clock.speed}× speed`, stepped: "stands still" })[clock.mode] ?? clock.mode;
