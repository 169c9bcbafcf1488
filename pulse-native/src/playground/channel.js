// One channel as this page has it: its subscription, its newest messages, and who is there. It keeps a wish (subscribed,
// present) and carries it out anew with each session.

import { delayMs } from "./backoff.js";
import { show } from "./payload.js";

/** Messages that are kept, and members that are listed. */
export const MESSAGES = 200;
export const MEMBERS = 200;

const JOIN = 0;
const LEAVE = 1;
const UPDATE = 2;
const SYNC = 3;

/** From the code table. */
const ALREADY_SUBSCRIBED = 1009;

/** Between two requests for the list of members. */
const SYNC_MS = 1_000;

export class Channel {
  /** `asking`, `subscribed`, `refused` or `waiting` for a session. */
  state = "waiting";
  /** Why it is refused. */
  why = "";
  /** What is in the log, oldest first: each with a number of its own in `key`. */
  entries = [];
  unread = 0;
  /** Total counts as the server told them last; `null` before that. */
  totals = null;
  /** By the client's name. */
  members = new Map();
  /** Why the list cannot be had. */
  presenceRefused = "";
  /** Whether this page wants to be, or is, among the members, and what it shows there. */
  isPresent = false;
  data = undefined;
  #session;
  #changed;
  #lastKey = 0;
  #attempt = 0;
  #timer = 0;
  #lostAt = null;
  #syncTimer = 0;

  constructor(name, session, changed) {
    this.name = name;
    this.#session = session;
    this.#changed = () => changed(this);
  }

  /** Subscribes, joins again if it was present, and asks who is there. For the start of each session. */
  async open() {
    clearTimeout(this.#timer);
    this.state = "asking";
    this.#changed();
    try {
      await this.#session.request({ type: "subscribe", channel: this.name });
    } catch (refused) {
      // An answer that came too late to be waited for was a yes.
      if (refused.code !== ALREADY_SUBSCRIBED) {
        this.#refuse(refused);
        return;
      }
    }
    this.state = "subscribed";
    this.#attempt = 0;
    if (this.#lostAt !== null) {
      this.#append({ what: "gap", text: `Away since ${clock(this.#lostAt)}: what was published meanwhile is not shown.` });
      this.#lostAt = null;
    }
    this.#changed();
    try {
      if (this.isPresent) await this.#ask(JOIN, this.data);
    } catch (refused) {
      this.#append({ what: "note", text: `Not present any more: ${refused.message}` });
      this.isPresent = false;
    }
    await this.#sync();
  }

  /** The session is gone. */
  lost() {
    clearTimeout(this.#timer);
    clearTimeout(this.#syncTimer);
    this.#syncTimer = 0;
    if (this.state === "subscribed") this.#lostAt ??= Date.now();
    this.state = "waiting";
    this.members.clear();
    this.totals = null;
    this.#changed();
  }

  /** Leaves the channel; the server takes leaving as leaving presence too. */
  async close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#syncTimer);
    if (this.state === "subscribed" || this.state === "asking") await this.#session.request({ type: "unsubscribe", channel: this.name });
  }

  publish(payload, event) {
    return this.#session.request({ type: "publish", channel: this.name, event: event || undefined, ...payload });
  }

  /** Joins the members, or changes what is shown there. */
  async appear(data) {
    await this.#ask(this.isPresent ? UPDATE : JOIN, data);
    this.isPresent = true;
    this.data = data;
    this.#changed();
  }

  async disappear() {
    await this.#ask(LEAVE);
    this.isPresent = false;
    this.#changed();
  }

  /** Takes a frame that is about this channel. */
  take(frame) {
    switch (frame.type) {
      case "publish":
        this.unread += 1;
        this.#append({
          what: "message",
          at: frame.time ?? Date.now(),
          event: frame.event,
          offset: frame.offset,
          from: frame.user ?? frame.client,
          ...show(frame.payload, frame.payload_b64),
        });
        break;
      case "gap": {
        const lost = frame.count === undefined ? "Messages" : `${frame.count} message${frame.count === 1 ? "" : "s"}`;
        this.#append({ what: "gap", text: `${lost} did not reach this page: ${frame.reason}` });
        break;
      }
      case "presence":
        this.#change(frame);
        break;
      case "unsubscribed":
        this.state = "refused";
        this.why = `${frame.reason} (${frame.code})`;
        break;
      default:
        return;
    }
    this.#changed();
  }

  #refuse(refused) {
    // The session has ended meanwhile: the next one asks again.
    if (this.state !== "asking") return;
    this.state = "refused";
    this.why = refused.code === 0 ? refused.message : `${refused.message} (${refused.code})`;
    if (refused.temporary) this.#timer = setTimeout(() => this.open(), delayMs(this.#attempt++));
    this.#changed();
  }

  #append(entry) {
    this.entries.push({ ...entry, key: ++this.#lastKey });
    if (this.entries.length > MESSAGES) this.entries.splice(0, this.entries.length - MESSAGES);
  }

  #ask(action, data) {
    return this.#session.request({ type: "presence", channel: this.name, action, data });
  }

  async #sync() {
    clearTimeout(this.#syncTimer);
    this.#syncTimer = 0;
    try {
      const request = { type: "presence", channel: this.name, action: SYNC, limit: MEMBERS };
      const page = await this.#session.request(request);
      this.members = new Map((page.members ?? []).map((member) => [member.client, toMember(member)]));
      this.totals = { clients: page.clients ?? this.members.size, users: page.users ?? this.members.size };
      this.presenceRefused = "";
    } catch (refused) {
      // Without a code it was the connection: the next session asks again.
      if (refused.code !== 0) this.presenceRefused = refused.message;
    }
    this.#changed();
  }

  #change(frame) {
    for (const change of frame.changes ?? [frame]) {
      if (change.action === LEAVE) this.members.delete(change.client);
      else if (this.members.size < MEMBERS || this.members.has(change.client)) {
        this.members.set(change.client, toMember(change));
      }
    }
    if (frame.clients !== undefined) this.totals = { clients: frame.clients, users: frame.users };
    // Room in the list, or a change that did not come.
    if (this.totals !== null && this.members.size !== Math.min(this.totals.clients, MEMBERS)) {
      this.#syncTimer ||= setTimeout(() => this.#sync(), SYNC_MS);
    }
  }
}

/** Hours, minutes and seconds. */
export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

function toMember({ client, user, data, data_b64: base64 }) {
  const shown = data === undefined && base64 === undefined ? "" : show(data, base64).text;
  const name = typeof data === "string" ? data : typeof data?.name === "string" ? data.name : undefined;
  return { client, user, name, shown: name === data ? "" : shown };
}
