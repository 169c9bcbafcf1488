// What is on screen as code to copy: the channels, and what the form would publish.

import { byId, setText } from "./dom.js";
import { announce } from "./status.js";

const LANGUAGES = ["javascript", "rust", "shell", "curl"];
const DEFAULT_URL = "ws://127.0.0.1:8080/ws";

export class Snippets {
  #chosen = "javascript";
  #scene = null;
  /** The program that pulse-native builds as an example; the page puts the scene into its constants. */
  #rust = "";

  constructor() {
    for (const language of LANGUAGES) {
      const tab = byId(`tab-${language}`);
      tab.onclick = () => this.#choose(language);
      tab.onkeydown = (event) => this.#move(event);
    }
    byId("copy").onclick = () => copy(byId("code"));
    fetch("playground/snippet.rs").then(async (answer) => {
      this.#rust = answer.ok ? await answer.text() : "// The server does not have this example.";
      this.#render();
    }, () => {});
  }

  /** `scene`: `url`, `api`, `channels`, `channel`, `kind`, `text`, `event`, and `data` where the page is present. */
  show(scene) {
    this.#scene = scene;
    this.#render();
  }

  #choose(language) {
    this.#chosen = language;
    for (const other of LANGUAGES) {
      const tab = byId(`tab-${other}`);
      tab.setAttribute("aria-selected", String(other === language));
      tab.tabIndex = other === language ? 0 : -1;
    }
    byId("snippet").setAttribute("aria-labelledby", `tab-${language}`);
    this.#render();
  }

  /** Arrow keys, Home and End go through the tabs, as in any list of tabs. */
  #move(event) {
    const at = LANGUAGES.indexOf(this.#chosen);
    const last = LANGUAGES.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.#choose(LANGUAGES[to]);
    byId(`tab-${LANGUAGES[to]}`).focus();
  }

  #render() {
    if (this.#scene === null) return;
    const texts = { javascript, rust: (scene) => rust(this.#rust, scene), shell, curl };
    setText(byId("code"), texts[this.#chosen](this.#scene).trimEnd());
  }
}

function javascript({ url, channels, channel, kind, text, event, data }) {
  const frames = [{ type: "connect", version: 1 }];
  let id = 0;
  for (const name of channels) frames.push({ type: "subscribe", id: ++id, channel: name });
  if (data !== undefined) frames.push({ type: "presence", id: ++id, channel, action: 0, data: data.value });
  const lines = frames.map((frame) => `  send(${literal(frame)});`);
  const named = event === "" ? "" : ` event: ${JSON.stringify(event)},`;
  const payload =
    kind === "json" ? `payload: ${compact(text)}` : `payload_b64: toBase64(${JSON.stringify(text)})`;
  lines.push(`  send({ type: "publish", channel: ${JSON.stringify(channel)},${named} ${payload} });`);
  return [
    `const socket = new WebSocket(${JSON.stringify(url)}, "pulse.v1.json");`,
    "const send = (frame) => socket.send(JSON.stringify(frame));",
    ...(kind === "json"
      ? []
      : ["const toBase64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));"]),
    "socket.onopen = () => {",
    ...lines,
    "};",
    "socket.onmessage = ({ data }) => {",
    '  for (const line of data.trim().split("\\n")) {',
    "    const frame = JSON.parse(line);",
    '    if (frame.type === "ping") send({ ...frame, type: "pong" });',
    "    else console.log(frame);",
    "  }",
    "};",
  ].join("\n");
}

/** As people write an object: keys without quotes where they need none. */
function literal(frame) {
  const keys = Object.entries(frame).filter(([, value]) => value !== undefined);
  return `{ ${keys.map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join(", ")} }`;
}

/** JSON on one line, or the text as it is while it is none. */
function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text.trim();
  }
}

function rust(program, { url, channels, channel, kind, text, event }) {
  const payload = kind === "json" ? compact(text) : text;
  const constants = {
    URL: rustString(url),
    CHANNELS: `&[${channels.map(rustString).join(", ")}]`,
    INTO: rustString(channel),
    PAYLOAD: rustString(payload),
    FORMAT: kind === "json" ? "Format::Json" : "Format::Raw",
    EVENT: event === "" ? "None" : `Some(${rustString(event)})`,
  };
  return program.replace(/^(const (\w+): [^=]+ = ).*;$/gm, (line, start, name) =>
    name in constants ? `${start}${constants[name]};` : line,
  );
}

const rustString = (text) => JSON.stringify(text).replace(/\\u([0-9a-f]{4})/g, "\\u{$1}").replace(/\\[bf]/g, (it) => (it === "\\b" ? "\\u{8}" : "\\u{c}"));

function shell({ url, channels, channel, kind, text, event }) {
  const server = url === DEFAULT_URL ? "" : ` --url ${quote(url)}`;
  const named = event === "" ? "" : ` --event ${quote(event)}`;
  const format = kind === "json" ? " --format json" : "";
  const payload = kind === "json" ? compact(text) : text;
  // What looks like a flag, or like standard input, is none behind the dashes or a line of its own.
  const dashes = [channel, payload].some((word) => word.startsWith("-")) ? " --" : "";
  const publish =
    payload === "-"
      ? `printf %s - | pulse pub${server}${named}${format} ${quote(channel)} -`
      : `pulse pub${server}${named}${format}${dashes} ${quote(channel)} ${quote(payload)}`;
  const subscribe = channels.length === 0 ? "" : `pulse sub${server}${channels.some((name) => name.startsWith("-")) ? " --" : ""} ${channels.map(quote).join(" ")}\n`;
  return `${subscribe}${publish}`;
}

function curl({ url, api, channel, kind, text, event }) {
  if (api === "off") return "# This server has no HTTP API; the setting api.enabled switches it on.";
  const address = new URL("/api/v1/publish", url.replace(/^ws/, "http")).href;
  const payload = kind === "json" ? compact(text) : JSON.stringify(text);
  const members = [`"channel": ${JSON.stringify(channel)}`, `"payload": ${payload}`];
  if (kind !== "json") members.push('"format": "raw"');
  if (event !== "") members.push(`"event": ${JSON.stringify(event)}`);
  const key = api === "key" ? ' -H "X-API-Key: $PULSE_API_KEY"' : "";
  return `curl ${quote(address)} -H 'content-type: application/json'${key} \\\n  -d ${quote(`{${members.join(", ")}}`)}`;
}

/** One word for a POSIX shell. */
const quote = (word) => (/^[\w:.,/@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
  } catch {
    // Pages without TLS from another machine have no clipboard; there the older way works.
    getSelection().selectAllChildren(element);
    if (!document.execCommand("copy")) {
      announce("The code is selected: copy it with the keyboard");
      return;
    }
  }
  const button = byId("copy");
  setText(button, "Copied");
  announce("Copied");
  setTimeout(() => setText(button, "Copy"), 1_500);
}
