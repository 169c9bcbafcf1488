// Reads the vectors that the Rust codec is tested with through a MessagePack library of somebody else's.
//
//     node codec.mjs FRAMES.json V1-FRAMES.json
//
// FRAMES.json: [{ name, hex, verdict, ... }], where only those of verdict "ok" are well-formed frames.
// V1-FRAMES.json: { frames: [{ name, hex, frame }] }, as the first release wrote them; bytes stand as { hex }.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { decode, encode } from '@msgpack/msgpack';
import { Checks } from './checks.mjs';

const [framesFile, firstReleaseFile] = process.argv.slice(2);
if (firstReleaseFile === undefined) {
  console.error('usage: node codec.mjs FRAMES.json V1-FRAMES.json');
  process.exit(2);
}
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));
// Numbers over 2^53 are in the vectors too: as bigints they are compared whole.
const options = { useBigInt64: true };

/** The value behind the length prefix, which has to be right. */
function unframe(hex) {
  const bytes = Buffer.from(hex, 'hex');
  assert.equal(bytes.readUInt32BE(0), bytes.length - 4, 'the length prefix counts the bytes after it');
  return decode(bytes.subarray(4), options);
}

/** A decoded value as the vectors' JSON shows it. */
function shown(value) {
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString('hex') };
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(shown);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shown(inner)]));
  }
  return value;
}

const checks = new Checks('codec');

for (const { name, hex, verdict } of readJson(framesFile)) {
  if (verdict !== 'ok') continue;
  await checks.check(name, () => {
    const frame = unframe(hex);
    assert.equal(typeof frame.type, 'string', 'a frame is a map with a type');
    // What that library writes for this value means the same to it: nothing was lost on the way in.
    assert.deepEqual(decode(encode(frame, options), options), frame);
  });
}

for (const { name, hex, frame } of readJson(firstReleaseFile).frames) {
  await checks.check(`first release: ${name}`, () => assert.deepEqual(shown(unframe(hex)), frame));
}

checks.finish();
