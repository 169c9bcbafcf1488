// The log of the channel on screen. Rows are added and taken away, not drawn anew, so that a flood costs one row each and
// a selection stays.

import { clock } from "./channel.js";
import { byId, make, setText } from "./dom.js";

export class Messages {
  #log = byId("log");
  #shown = null;
  #lastKey = 0;
  /** Whether the newest row is kept in sight. Who has scrolled back to read is left there. */
  #follows = true;

  constructor() {
    this.#log.onscroll = () => {
      const below = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight;
      this.#follows = below < 8;
    };
    new ResizeObserver(() => this.#follow()).observe(this.#log);
  }

  /** Brings the log to what the channel has; `null` where there is none. */
  show(channel) {
    if (channel !== this.#shown) {
      this.#shown = channel;
      this.#lastKey = 0;
      this.#follows = true;
      this.#log.replaceChildren();
    }
    const entries = channel?.entries ?? [];
    setText(byId("log-empty"), entries.length > 0 ? "" : emptyWords(channel));
    const fresh = entries.filter(({ key }) => key > this.#lastKey);
    if (fresh.length === 0) return;
    this.#lastKey = fresh.at(-1).key;
    this.#log.append(...fresh.map(row));
    while (this.#log.childElementCount > entries.length) this.#log.firstElementChild.remove();
    this.#follow();
  }

  #follow() {
    if (this.#follows) this.#log.scrollTop = this.#log.scrollHeight;
  }
}

function emptyWords(channel) {
  if (channel === null) return "Subscribe to a channel to see what is published there.";
  switch (channel.state) {
    case "subscribed":
      return "Nothing yet. Publish something, here or from another tab.";
    case "refused":
      return `The server does not let this page subscribe: ${channel.why}`;
    default:
      return "Waiting for the server.";
  }
}

function row(entry) {
  if (entry.what !== "message") return make("li", { className: `row ${entry.what}` }, entry.text);
  const { at, event, offset, from, kind, text } = entry;
  const facts = make(
    "div",
    { className: "facts" },
    make("time", { dateTime: new Date(at).toISOString() }, clock(at)),
    event === undefined ? undefined : make("span", { className: "event" }, event),
    make("span", { className: "kind" }, kind),
    offset === undefined ? undefined : make("span", {}, `#${offset}`),
    from === undefined ? undefined : make("span", { className: "from" }, `from ${from}`),
  );
  return make("li", { className: "row message" }, facts, make("code", { className: `payload ${kind}` }, text));
}
