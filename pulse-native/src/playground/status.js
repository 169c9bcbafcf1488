// The state of the connection for eyes and, where it matters, for ears: a countdown is seen every second and said once.

import { byId, setText } from "./dom.js";

/** Between two announcements of messages. */
const QUIET_MS = 3_000;

let lastMessages = -Infinity;

/** Has a screen reader say something when it is done with what it says. */
export function announce(text) {
  // The same text twice in a row would not be a change.
  const announcer = byId("announcer");
  announcer.textContent = announcer.textContent === text ? `${text}\u00a0` : text;
}

/** As `announce`, for messages, which may come in floods. */
export function announceMessage(text) {
  const now = performance.now();
  if (now - lastMessages < QUIET_MS) return;
  lastMessages = now;
  announce(text);
}

export class Status {
  #session;
  #timer = 0;

  constructor(session) {
    this.#session = session;
    byId("connect").onclick = () => session.connect();
    byId("disconnect").onclick = () => session.disconnect();
  }

  /** For each new state. */
  update() {
    const { state } = this.#session;
    clearInterval(this.#timer);
    if (state.name === "waiting") this.#timer = setInterval(() => this.#show(), 250);
    this.#show();
    const [text, detail] = this.#words();
    if (state.name !== "connecting") announce(detail === "" ? text : `${text}: ${detail}`);
  }

  #show() {
    const { name } = this.#session.state;
    const [text, detail] = this.#words();
    byId("status").dataset.state = name;
    setText(byId("status-text"), text);
    setText(byId("status-detail"), detail);
    const mayConnect = name === "off" || name === "away" || name === "waiting";
    const mayDisconnect = name !== "off" && name !== "away";
    setText(byId("connect"), name === "waiting" ? "Try now" : "Connect");
    const held = document.activeElement;
    byId("connect").hidden = !mayConnect;
    byId("disconnect").hidden = !mayDisconnect;
    // Who pressed a button that goes is at the other one.
    if (held?.hidden) byId(mayConnect ? "connect" : "disconnect").focus();
  }

  #words() {
    const { state } = this.#session;
    switch (state.name) {
      case "connecting":
        return ["Connecting", ""];
      case "connected":
        return ["Connected", `you are ${state.connectionId}`];
      case "waiting": {
        const seconds = Math.max(1, Math.ceil((state.at - performance.now()) / 1_000));
        return [`Coming back in ${seconds} s`, state.why];
      }
      case "away":
        return ["Told to stay away", state.why];
      default:
        return ["Not connected", ""];
    }
  }
}
