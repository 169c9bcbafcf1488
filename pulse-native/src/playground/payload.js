// Payloads and presence data, from and to text. JSON travels as it is; everything else is bytes, in base64.

/** Characters of one value that the page keeps and shows. */
const SHOWN = 4_096;
const SHOWN_BYTES = 256;

/** The frame's keys for a payload as it was typed. Throws a sentence about text that is no JSON. */
export function encode(kind, text) {
  if (kind === "json") return { payload: parse(text), format: "json" };
  return { payload_b64: toBase64(new TextEncoder().encode(text)) };
}

/** Presence data as it was typed: JSON if it is JSON, else a string; nothing if nothing was typed. */
export function encodeData(text) {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  try {
    return JSON.parse(trimmed);
  } catch {
    return trimmed;
  }
}

/** What to show of a payload or of data: its kind (`json`, `text` or `bytes`) and a text of bounded length. */
export function show(value, base64) {
  if (base64 === undefined) return { kind: "json", text: cut(JSON.stringify(value, null, 1).replace(/\n\s*/g, " ")) };
  const bytes = fromBase64(base64);
  try {
    return { kind: "text", text: cut(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) };
  } catch {
    const hex = Array.from(bytes.subarray(0, SHOWN_BYTES), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const rest = bytes.length - SHOWN_BYTES;
    return { kind: "bytes", text: rest > 0 ? `${hex} … and ${rest} bytes more` : hex };
  }
}

/** Throws a sentence about text that is no JSON. */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}. Text that is none can be sent as text.`);
  }
}

function cut(text) {
  return text.length > SHOWN ? `${text.slice(0, SHOWN)} … and ${text.length - SHOWN} characters more` : text;
}

function toBase64(bytes) {
  let characters = "";
  for (const byte of bytes) characters += String.fromCharCode(byte);
  return btoa(characters);
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
