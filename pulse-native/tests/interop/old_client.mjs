// A client of the first Pulse release, on a WebSocket and a MessagePack library of somebody else's: it names no
// subprotocol, and takes everything after the first four bytes of a WebSocket message for one frame.
//
//     node old_client.mjs ws://127.0.0.1:8080/ws

import assert from 'node:assert/strict';
import { decode, encode } from '@msgpack/msgpack';
import WebSocket from 'ws';
import { Checks } from './checks.mjs';

const [url] = process.argv.slice(2);
if (url === undefined) {
  console.error('usage: node old_client.mjs URL');
  process.exit(2);
}
const WAIT_MS = 5000;
const KNOWN_TYPES = new Set(['connected', 'ack', 'error', 'publish', 'presence', 'ping', 'pong']);

/** One connection; what happens to it waits in line until it is asked for. */
class OldClient {
  #socket;
  /** Functions: each returns a frame, or throws what went wrong instead. */
  #events = [];
  #wake = () => {};

  constructor() {
    this.#socket = new WebSocket(url);
    this.#socket.on('message', (data, isBinary) => this.#happened(() => OldClient.#frame(data, isBinary)));
    this.#socket.on('error', (error) => this.#happened(() => { throw error; }));
    this.#socket.on('close', (code, reason) => this.#happened(() => { throw new Error(`closed with ${code} ${reason}`); }));
  }

  /** Connects and waits for `connected`, as the first release's client does. */
  static async open() {
    const client = new OldClient();
    const frame = await client.next('connected');
    assert.equal(frame.version, 1);
    assert.equal(typeof frame.connection_id, 'string');
    assert.ok(frame.heartbeat > 0, 'the heartbeat is in milliseconds');
    return client;
  }

  send(...frames) {
    for (const frame of frames) {
      const body = encode(frame);
      const bytes = Buffer.alloc(4 + body.length);
      bytes.writeUInt32BE(body.length);
      bytes.set(body, 4);
      this.#socket.send(bytes);
    }
  }

  /** The next frame, which has to be of this type. */
  async next(type) {
    const frame = await this.#receive(type);
    assert.equal(frame.type, type, `in ${JSON.stringify(frame)}`);
    return frame;
  }

  /** The next two frames, one of each type, whichever comes first. */
  async nextBoth(one, other) {
    const frames = [await this.#receive(`${one} or ${other}`), await this.#receive(`${one} or ${other}`)];
    if (frames[0].type !== one) frames.reverse();
    assert.deepEqual(frames.map((frame) => frame.type), [one, other]);
    return frames;
  }

  async close() {
    const closed = new Promise((resolve) => this.#socket.once('close', resolve));
    this.#socket.close(1000);
    assert.equal(await closed, 1000, 'the server answers a close with the same code');
  }

  async #receive(what) {
    const deadline = AbortSignal.timeout(WAIT_MS);
    while (this.#events.length === 0) {
      await new Promise((resolve, reject) => {
        this.#wake = resolve;
        deadline.onabort = () => reject(new Error(`no ${what} within ${WAIT_MS} ms`));
      });
    }
    return this.#events.shift()();
  }

  /** What the first release's published page does with a message, and what it takes for granted. */
  static #frame(data, isBinary) {
    assert.ok(isBinary, 'messages are binary');
    assert.equal(data.readUInt32BE(0), data.length - 4, 'a message is exactly one frame');
    const frame = decode(data.subarray(4));
    assert.ok(KNOWN_TYPES.has(frame.type), `the first release does not know ${JSON.stringify(frame)}`);
    return frame;
  }

  #happened(event) {
    this.#events.push(event);
    this.#wake();
  }
}

const checks = new Checks('old_client');
const channel = 'chat:lobby';
const text = (string) => new TextEncoder().encode(string);
let client;

await checks.check('gets connected on opening', async () => {
  client = await OldClient.open();
});
if (client === undefined) checks.finish();

await checks.check('subscribes at once and gets an ack', async () => {
  client.send({ type: 'subscribe', id: 1, channel });
  assert.equal((await client.next('ack')).id, 1);
});

await checks.check('gets its own message, and no ack without an id', async () => {
  client.send({ type: 'publish', channel, event: 'greeting', payload: text('hello') });
  const message = await client.next('publish');
  assert.equal(message.channel, channel);
  assert.equal(message.event, 'greeting');
  assert.deepEqual(Buffer.from(message.payload), Buffer.from('hello'));
});

await checks.check('gets its own message and an ack with an id', async () => {
  client.send({ type: 'publish', id: 2, channel, payload: text('again') });
  const [message, ack] = await client.nextBoth('publish', 'ack');
  assert.deepEqual(Buffer.from(message.payload), Buffer.from('again'));
  assert.equal(ack.id, 2);
});

await checks.check('gets a pong with the timestamp of its ping', async () => {
  client.send({ type: 'ping', timestamp: 1764547200000 });
  assert.equal((await client.next('pong')).timestamp, 1764547200000);
});

await checks.check('is told what it did wrong, under the id of the request', async () => {
  client.send({ type: 'unsubscribe', id: 3, channel: 'chat:never-joined' });
  const error = await client.next('error');
  assert.equal(error.id, 3);
  assert.equal(error.code, 1008);
  assert.equal(typeof error.message, 'string');
});

await checks.check('gets 50 publications of one burst, in order and one frame a message', async () => {
  const other = await OldClient.open();
  const numbers = Array.from({ length: 50 }, (_, number) => number);
  other.send(...numbers.map((number) => ({ type: 'publish', channel, payload: text(`message ${number}`) })));
  for (const number of numbers) {
    const message = await client.next('publish');
    assert.equal(Buffer.from(message.payload).toString(), `message ${number}`);
  }
  await other.close();
});

await checks.check('unsubscribes and gets an ack', async () => {
  client.send({ type: 'unsubscribe', id: 4, channel });
  assert.equal((await client.next('ack')).id, 4);
});

await checks.check('closes with the handshake of WebSocket', () => client.close());

checks.finish();
