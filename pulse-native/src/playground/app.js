// The page: which channels there are, which one is on screen, and what the forms do. The rest is in the modules.

import { Channel } from "./channel.js";
import { byId, make, setText } from "./dom.js";
import { Messages } from "./messages.js";
import { encode } from "./payload.js";
import { Presence } from "./presence.js";
import { Session } from "./session.js";
import { Snippets } from "./snippets.js";
import { Status, announce, announceMessage } from "./status.js";

/** Channels that the page holds at a time; the server's own limit is 100 unless it is set otherwise. */
const CHANNELS = 50;
const FIRST_CHANNEL = "chat:lobby";
/** How the part of the address begins that names channels. */
const NAMED = "#channels=";

const url = websocketUrl();
/** Of the HTTP API: `off`, `open` to this machine, or for those with the `key`. */
const api = document.querySelector('meta[name="pulse-api"]').content;
const session = new Session(url, onState, onFrame);
const status = new Status(session);
const messages = new Messages();
const presence = new Presence(session);
const snippets = new Snippets();

/** By name, in the order in which they were subscribed to. */
const channels = new Map();
/** List items by channel, so that focus stays where it is. */
const items = new Map();
let onScreen = null;
let isDrawing = false;
let isConnected = false;

byId("url").textContent = url;
byId("subscribe").onsubmit = (event) => {
  event.preventDefault();
  subscribe(byId("channel").value.trim());
};
byId("channel").oninput = () => complain("");
byId("unsubscribe").onclick = unsubscribe;
byId("publish").onsubmit = (event) => {
  event.preventDefault();
  publish();
};
byId("publish").oninput = draw;
byId("message").onkeydown = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    publish();
  }
};
addEventListener("hashchange", () => named().forEach((name) => add(name)));

const first = named();
for (const name of first.length > 0 ? first : [FIRST_CHANNEL]) add(name);
[onScreen = null] = channels.values();
status.update();
session.connect();
draw();

/** The same server's WebSocket; its path is a setting. */
function websocketUrl() {
  const path = document.querySelector('meta[name="pulse-websocket-path"]').content;
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${path}`;
}

function onState(state) {
  for (const channel of channels.values()) {
    if (state.name === "connected") channel.open();
    else if (channel.state !== "waiting") channel.lost();
  }
  // What was said of the last message is about a session that is over.
  if (isConnected !== (state.name === "connected")) setText(byId("publish-result"), "");
  isConnected = state.name === "connected";
  status.update();
  draw();
}

function onFrame(frame) {
  const channel = channels.get(frame.channel);
  if (frame.type === "error") {
    setText(byId("publish-result"), `${frame.message} (${frame.code})`);
  } else if (channel !== undefined) {
    channel.take(frame);
    const last = channel.entries.at(-1);
    if (channel === onScreen && frame.type === "publish") announceMessage(`Message: ${last.text.slice(0, 200)}`);
    if (frame.type === "gap") announce(`${channel.name}: ${last.text}`);
  }
}

function subscribe(name) {
  const known = channels.get(name);
  const wrong = known === undefined ? whatIsWrong(name) : "";
  complain(wrong);
  if (wrong !== "") {
    byId("channel").focus();
    return;
  }
  onScreen = known ?? add(name);
  byId("channel").value = "";
  draw();
}

/** Says beside the field what is wrong with the channel's name, if anything is. */
function complain(wrong) {
  setText(byId("subscribe-error"), wrong);
  byId("channel").setAttribute("aria-invalid", String(wrong !== ""));
}

function whatIsWrong(name) {
  if (name === "") return "A channel has a name, for example chat:lobby.";
  if (channels.size >= CHANNELS) return `This page holds ${CHANNELS} channels: unsubscribe from one first.`;
  if (!/^(?!\$)[\x20-\x7e]{1,256}$/.test(name)) {
    return "Names are 1 to 256 letters, digits, signs and blanks (ASCII) and do not start with $.";
  }
  return "";
}

function add(name) {
  const known = channels.get(name);
  if (known !== undefined || whatIsWrong(name) !== "") return known;
  const channel = new Channel(name, session, draw);
  channels.set(name, channel);
  remember();
  if (session.state.name === "connected") channel.open();
  draw();
  return channel;
}

async function unsubscribe() {
  const channel = onScreen;
  const names = [...channels.keys()];
  channels.delete(channel.name);
  remember();
  const next = names[names.indexOf(channel.name) + 1] ?? names[names.indexOf(channel.name) - 1];
  onScreen = channels.get(next) ?? null;
  draw();
  announce(`Unsubscribed from ${channel.name}`);
  (onScreen === null ? byId("channel") : items.get(onScreen).firstElementChild).focus();
  // The page is done with it either way; a refusal changes nothing.
  await channel.close().catch(() => {});
}

async function publish() {
  const { kind, text, event } = form();
  const result = byId("publish-result");
  if (onScreen === null) return;
  try {
    const ack = await onScreen.publish(encode(kind, text), event);
    setText(result, ack.offset === undefined ? "The server has taken it." : `The server has taken it as number ${ack.offset}.`);
    result.className = "result";
  } catch (error) {
    setText(result, error.code > 0 ? `Refused: ${error.message} (${error.code})` : error.message);
    result.className = "result error";
    announce(result.textContent);
  }
}

const form = () => ({
  kind: byId("kind-json").checked ? "json" : "text",
  text: byId("message").value,
  event: byId("event").value.trim(),
});

/** The channels that the address names, so that a tab can be loaded anew or handed on. */
function named() {
  if (!location.hash.startsWith(NAMED)) return [];
  try {
    return location.hash.slice(NAMED.length).split(",").filter((name) => name !== "").map(decodeURIComponent);
  } catch {
    return [];
  }
}

function remember() {
  history.replaceState(null, "", NAMED + [...channels.keys()].map(encodeURIComponent).join(","));
}

/** Brings the screen up to date with the next frame, however often it is asked for. */
function draw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    if (onScreen !== null) onScreen.unread = 0;
    drawList();
    setText(byId("title"), onScreen?.name ?? "No channel");
    byId("unsubscribe").hidden = onScreen === null;
    byId("publish").hidden = onScreen === null;
    messages.show(onScreen);
    presence.show(onScreen);
    byId("snippets").hidden = onScreen === null;
    if (onScreen !== null) {
      const data = onScreen.isPresent ? { value: onScreen.data } : undefined;
      snippets.show({ url, api, channels: [...channels.keys()], channel: onScreen.name, data, ...form() });
    }
  });
}

function drawList() {
  for (const [channel, item] of items) {
    if (channels.get(channel.name) !== channel) {
      items.delete(channel);
      item.remove();
    }
  }
  for (const channel of channels.values()) {
    let item = items.get(channel);
    if (item === undefined) {
      const choose = () => {
        onScreen = channel;
        setText(byId("publish-result"), "");
        draw();
      };
      const parts = ["name", "note"].map((className) => make("span", { className }));
      item = make("li", {}, make("button", { type: "button", onclick: choose }, ...parts));
      items.set(channel, item);
      byId("channels").append(item);
    }
    const button = item.firstElementChild;
    button.setAttribute("aria-current", String(channel === onScreen));
    button.dataset.state = channel.state;
    setText(button.firstElementChild, channel.name);
    setText(button.lastElementChild, note(channel));
  }
}

function note({ state, unread }) {
  if (state === "refused") return "refused";
  if (state !== "subscribed") return "waiting";
  return unread === 0 ? "" : `${unread.toLocaleString("en")} new`;
}
