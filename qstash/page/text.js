// Everything that is shown comes from strangers: URLs, names, headers, bodies. It enters the page here, as text and nothing else.

// Characters that reorder or hide text could make one URL look like another, so they are shown by their code instead.
const DECEPTIVE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const LINE_BREAKS = /[\t\n]/g;

const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

// A text of several lines keeps its line breaks; a carriage return in front of one is only a line break's other half.
export const visible = (text) => String(text).replace(/\r\n/g, "\n").replace(DECEPTIVE, escaped);

// A name, a URL or a header has no business with line breaks, so those are shown by their codes as well.
export const visibleLine = (text) => String(text).replace(DECEPTIVE, escaped).replace(LINE_BREAKS, escaped);

// This is the only way an element is made. Children are nodes or strings, and a string becomes a text node.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

// A text that did not change is left alone, which keeps a person's selection and saves a layout.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

// The URL is cut by hand: what a person must see is the text that was sent, not what a parser makes of it.
export function urlParts(url) {
  const found = /^([a-z][a-z0-9+.-]*:\/\/)?([^/?#]*@)?([^/?#]*)([^]*)$/i.exec(String(url));
  const [, scheme = "", login = "", host = "", rest = ""] = found ?? [];
  return { before: visibleLine(scheme + login), host: visibleLine(host), after: visibleLine(rest) };
}

export function urlText(url) {
  const { before, host, after } = urlParts(url);
  return el("bdi", { class: "url", dir: "ltr" }, el("span", { class: "faint" }, before), el("b", {}, host), after);
}

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

const grouped = new Intl.NumberFormat("en");
export const number = (value) => (typeof value === "number" ? grouped.format(value) : "–");

export function size(bytes) {
  if (bytes < 1024) return plural(bytes, "byte");
  return bytes < 1024 * 1024 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

// A button tells when it could not do its work by its text, because it has nothing else to show.
export function copyButton(label, textOf) {
  const button = el("button", { type: "button", class: "small", hidden: !navigator.clipboard }, label);
  const tell = (text) => {
    setText(button, text);
    setTimeout(() => setText(button, label), 1500);
  };
  button.addEventListener("click", () => navigator.clipboard.writeText(textOf()).then(() => tell("Copied"), () => tell("Not allowed")));
  return button;
}
