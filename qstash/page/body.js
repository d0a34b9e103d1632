// Bodies and headers, which may be anything: they are shown as text, cut where they would be too much to look at.

import { copyButton, el, setText, size, visible, visibleLine } from "./text.js";

const SHOWN = 64 * 1024;
const PRETTY = 256 * 1024;
const DEEPEST = 32;
const HEX_SHOWN = 4 * 1024;

// Indentation multiplies what is nested: a small body could grow to hundreds of megabytes. Brackets in strings count too, which only
// leaves a body as it was sent.
function isDeep(text) {
  let depth = 0;
  for (const character of text) {
    if (character === "[" || character === "{") depth += 1;
    if (character === "]" || character === "}") depth -= 1;
    if (depth > DEEPEST) return true;
  }
  return false;
}

// Parsing a very large body would hold the page up only to show its first part.
function prettyJson(text) {
  if (text.length > PRETTY || !/^\s*[[{]/.test(text) || isDeep(text)) return undefined;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return undefined;
  }
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

function safeBytes(base64) {
  try {
    return bytesOf(base64);
  } catch {
    return undefined;
  }
}

const printable = (byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·");

function hexLine(bytes, at, width) {
  const line = [...bytes.slice(at, at + width)];
  const hex = line.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return `${at.toString(16).padStart(6, "0")}  ${hex.padEnd(width * 3)} ${line.map(printable).join("")}`;
}

// A phone has room for eight bytes in a line, a wider screen for sixteen.
function hexDump(bytes) {
  const width = matchMedia("(max-width: 640px)").matches ? 8 : 16;
  const shown = bytes.slice(0, HEX_SHOWN);
  const lines = Array.from({ length: Math.ceil(shown.length / width) }, (_, line) => hexLine(shown, line * width, width));
  return lines.join("\n");
}

const note = (text) => el("p", { class: "note" }, text);

function cutNote(shown, whole) {
  return whole > shown ? note(`Only the first ${size(shown)} of ${size(whole)} are shown.`) : undefined;
}

function binaryBlock(base64) {
  const bytes = safeBytes(base64);
  if (!bytes) return el("p", { class: "note" }, "The server sent a body that cannot be read.");
  const preview = new TextDecoder().decode(bytes.slice(0, SHOWN));
  const shown = Math.min(bytes.length, HEX_SHOWN);
  return el("div", { class: "body" }, note(`${size(bytes.length)}, not text.`), el("pre", { class: "hex" }, hexDump(bytes)), cutNote(shown, bytes.length),
    el("details", {}, el("summary", {}, "As text"), el("pre", {}, visible(preview)), cutNote(SHOWN, bytes.length)));
}

// The cut is by characters, which is what costs time to lay out; the note counts the same way.
function textBlock(text) {
  const pretty = prettyJson(text);
  const shown = el("pre", {}, visible((pretty ?? text).slice(0, SHOWN)));
  const tools = el("div", { class: "tools" }, el("span", { class: "faint" }, `${size(new Blob([text]).size)}${pretty ? ", JSON" : ""}`));
  if (pretty) tools.append(rawButton(shown, text, pretty));
  tools.append(copyButton("Copy", () => text));
  return el("div", { class: "body" }, tools, shown, cutNote(SHOWN, (pretty ?? text).length));
}

function rawButton(shown, text, pretty) {
  const button = el("button", { type: "button", class: "small", "aria-pressed": "false" }, "As sent");
  button.addEventListener("click", () => {
    const raw = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", String(raw));
    setText(shown, visible((raw ? text : pretty).slice(0, SHOWN)));
  });
  return button;
}

export function bodyBlock(text, base64, empty) {
  if (base64) return binaryBlock(base64);
  return text ? textBlock(text) : empty && el("p", { class: "note" }, empty);
}

export function headersBlock(title, headers) {
  const lines = Object.entries(headers ?? {}).flatMap(([name, values]) => [values].flat().map((value) => [name, value]));
  if (!lines.length) return undefined;
  const rows = lines.map(([name, value]) => [el("dt", {}, visibleLine(name)), el("dd", {}, el("bdi", {}, visibleLine(value)))]);
  return el("details", { class: "headers" }, el("summary", {}, `${title} (${lines.length})`), el("dl", {}, rows.flat()));
}
