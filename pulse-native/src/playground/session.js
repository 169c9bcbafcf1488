// One session of `pulse.v1.json` that comes back by itself. It decides when to connect, pairs requests with answers and
// notices a server that has gone silent; what the frames mean for a channel is in channel.js.
//
// States: `off`, `connecting`, `connected` (`connectionId`), `waiting` (`at`, `why`), `away` (`why`).

import { STABLE_MS, delayMs } from "./backoff.js";

/** For a socket to become a session, and for a request to be answered. */
const PATIENCE_MS = 10_000;

/** A silent server is asked this much later than it would ask itself, and then has so long to answer. */
const ASK_AFTER_MS = 2_000;
const ANSWER_MS = 8_000;

/** Where the server has no heartbeat of its own. */
const HEARTBEAT_MS = 30_000;

/** A request that was refused or not answered. */
export class Refused extends Error {
  /** `code` is from the table of docs/PROTOCOL.md, 0 where no server said anything. */
  constructor(message, code = 0, temporary = true) {
    super(message);
    this.code = code;
    this.temporary = temporary;
  }
}

export class Session {
  state = { name: "off" };
  #url;
  #onState;
  #onFrame;
  #socket = null;
  #requests = new Map();
  #lastId = 0;
  #attempt = 0;
  #openedAt = Infinity;
  /** The server's `disconnect`, or what this page found wrong. */
  #farewell = null;
  #timer = 0;
  #watch = 0;
  #heardAt = 0;
  #askedAt = Infinity;

  constructor(url, onState, onFrame) {
    this.#url = url;
    this.#onState = onState;
    this.#onFrame = onFrame;
    // A network that is back is a reason not to wait any longer.
    addEventListener("online", () => this.state.name === "waiting" && this.connect());
  }

  /** Connects now, unless it is connected or about to be. */
  connect() {
    if (this.#socket !== null) return;
    clearTimeout(this.#timer);
    this.#farewell = null;
    const socket = new WebSocket(this.#url, "pulse.v1.json");
    this.#socket = socket;
    const isCurrent = () => this.#socket === socket;
    socket.onopen = () => isCurrent() && this.#send({ type: "connect", version: 1, name: "pulse playground" });
    socket.onmessage = ({ data }) => isCurrent() && this.#receive(data);
    socket.onclose = ({ code, reason }) => isCurrent() && this.#closed(code, reason);
    this.#timer = setTimeout(() => this.#giveUp("the server does not answer"), PATIENCE_MS);
    this.#enter({ name: "connecting" });
  }

  /** Ends the session, and does not come back. */
  disconnect() {
    this.#attempt = 0;
    this.#drop("you have disconnected");
    this.#enter({ name: "off" });
  }

  /** Sends a request; the answer is an `ack` or a frame of the same type. Rejects with `Refused`. */
  request(frame) {
    if (this.state.name !== "connected") return Promise.reject(new Refused("not connected: nothing was sent"));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const late = () => this.#settle(id)?.reject(new Refused("the server did not answer in time"));
      this.#requests.set(id, { resolve, reject, timer: setTimeout(late, PATIENCE_MS) });
      this.#send({ ...frame, id });
    });
  }

  #receive(data) {
    this.#heardAt = performance.now();
    this.#askedAt = Infinity;
    for (const line of data.split("\n")) {
      if (line.trim() !== "") this.#take(JSON.parse(line));
    }
  }

  #take(frame) {
    switch (frame.type) {
      case "connected":
        clearTimeout(this.#timer);
        this.#openedAt = performance.now();
        this.#watchSilence(frame.heartbeat || HEARTBEAT_MS);
        this.#enter({ name: "connected", connectionId: frame.connection_id });
        break;
      case "ping":
        this.#send({ ...frame, type: "pong" });
        break;
      case "pong":
        break;
      case "disconnect":
        this.#farewell = frame;
        break;
      case "error":
        if (this.#requests.has(frame.id)) {
          this.#settle(frame.id).reject(new Refused(frame.message, frame.code, frame.temporary === true));
        } else {
          this.#onFrame(frame);
        }
        break;
      default: {
        const request = this.#settle(frame.id);
        if (request !== undefined) request.resolve(frame);
        else this.#onFrame(frame);
      }
    }
  }

  /** The request with this id, which is answered now. */
  #settle(id) {
    const request = this.#requests.get(id);
    if (request !== undefined) {
      this.#requests.delete(id);
      clearTimeout(request.timer);
    }
    return request;
  }

  #watchSilence(heartbeatMs) {
    this.#heardAt = performance.now();
    this.#watch = setInterval(() => {
      const now = performance.now();
      if (now - this.#askedAt > ANSWER_MS) {
        this.#giveUp("nothing was heard of the server for too long");
      } else if (this.#askedAt === Infinity && now - this.#heardAt > heartbeatMs + ASK_AFTER_MS) {
        this.#askedAt = now;
        this.#send({ type: "ping" });
      }
    }, 1_000);
  }

  /** The range of the code is the verdict, also for codes that this page does not know. */
  #closed(closeCode, closeReason) {
    const code = this.#farewell?.code ?? closeCode;
    const told = this.#farewell?.reason || closeReason || (code === 1006 ? "the server cannot be reached" : "the connection ended");
    const why = code === 1006 ? told : `${told} (${code})`;
    const retryMs = this.#farewell?.retry_ms;
    this.#drop(why);
    if (code >= 4500 && code <= 4999) {
      this.#attempt = 0;
      this.#enter({ name: "away", why });
      return;
    }
    this.#comeBack(why, retryMs);
  }

  /** Goes without waiting for the other side, which may not be there any more. */
  #giveUp(why) {
    this.#drop(why);
    this.#comeBack(why);
  }

  #comeBack(why, retryMs) {
    if (performance.now() - this.#openedAt > STABLE_MS) this.#attempt = 0;
    this.#openedAt = Infinity;
    const wait = retryMs ?? delayMs(this.#attempt++);
    this.#timer = setTimeout(() => this.connect(), wait);
    this.#enter({ name: "waiting", at: performance.now() + wait, why });
  }

  #drop(why) {
    clearTimeout(this.#timer);
    clearInterval(this.#watch);
    this.#askedAt = Infinity;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    for (const id of [...this.#requests.keys()]) this.#settle(id).reject(new Refused(why));
  }

  #enter(state) {
    this.state = state;
    this.#onState(state);
  }

  #send(frame) {
    // A socket that is on its way out takes nothing; its end is told by its own event.
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }
}
