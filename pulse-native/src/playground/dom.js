// Elements without HTML: what comes from the network only ever becomes text.

/** The element of index.html with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element. Names with a dash and `role` are attributes, all others properties; `undefined` is left out. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** Sets the text of an element, and leaves one alone that has it: a selection in it stays. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** `3 messages`, `1 message`. */
export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
