// Reads the vectors that the Rust codec is tested with through a MessagePack library of somebody else's.
//
//     node codec.mjs FRAMES.json V1-FRAMES.json
//
// FRAMES.json: { frames: [{ name, hex, verdict, canonical, meaning }] }, where those of verdict "ok" are frames, and the
// canonical ones what our encoder writes. V1-FRAMES.json: { frames: [{ name, hex, frame }] }, as the first release wrote
// them. In both, bytes stand as { hex }.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { decode } from '@msgpack/msgpack';
import { Checks } from './checks.mjs';

const [framesFile, firstReleaseFile] = process.argv.slice(2);
if (firstReleaseFile === undefined) {
  console.error('usage: node codec.mjs FRAMES.json V1-FRAMES.json');
  process.exit(2);
}
const framesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).frames;

/** The frame behind the length prefix, which has to be right, as the vectors' JSON shows it. */
function unframe(hex) {
  const bytes = Buffer.from(hex, 'hex');
  assert.equal(bytes.readUInt32BE(0), bytes.length - 4, 'the length prefix counts the bytes after it');
  // MessagePack allows any value as a key, and under a key that nobody knows there may be one.
  return shown(decode(bytes.subarray(4), { mapKeyConverter: String }));
}

/** Bytes as { hex }, all else as it is. */
function shown(value) {
  if (value instanceof Uint8Array) return { hex: Buffer.from(value).toString('hex') };
  if (Array.isArray(value)) return value.map(shown);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shown(inner)]));
  }
  return value;
}

const checks = new Checks('codec');

for (const { name, hex, verdict, canonical, meaning } of framesOf(framesFile)) {
  if (verdict !== 'ok') continue;
  await checks.check(name, () => {
    const frame = unframe(hex);
    // What our encoder does not write may say the same in other words: unknown keys, nil for absent, a list for bytes.
    if (canonical) assert.deepEqual(frame, meaning);
    else assert.equal(frame.type, meaning.type);
  });
}

for (const { name, hex, frame } of framesOf(firstReleaseFile)) {
  await checks.check(`first release: ${name}`, () => assert.deepEqual(unframe(hex), frame));
}

checks.finish();
