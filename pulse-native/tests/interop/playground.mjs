// The playground in a real browser: tabs that talk, a server that is restarted under them, and what axe-core finds.
//
//     node playground.mjs CHROMIUM PULSE [FOLDER]
//
// With a folder, screenshots are put there.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { WebSocketServer } from 'ws';
import { Checks } from './checks.mjs';

const [chromiumPath, pulse, folder] = process.argv.slice(2);
if (pulse === undefined) {
  console.error('usage: node playground.mjs CHROMIUM PULSE [FOLDER]');
  process.exit(2);
}
const WAIT_MS = 20_000;
const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** The server, which is restarted on the same port. */
class Server {
  #child;

  /** With these settings beside those of all servers here. */
  constructor(settings) {
    this.settings = settings;
  }

  static async start(settings = {}) {
    const free = createServer().listen(0, '127.0.0.1');
    await once(free, 'listening');
    const server = new Server(settings);
    server.port = free.address().port;
    free.close();
    await once(free, 'close');
    await server.run();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  async run() {
    const environment = {
      PULSE_PORT: String(this.port),
      PULSE_METRICS_ENABLED: 'false',
      PULSE_SERVER_RETRY_SPREAD_MS: '1500',
      PULSE_CHANNELS_PRESENCE_GRACE_MS: '500',
      ...this.settings,
    };
    this.#child = spawn(pulse, ['serve'], { env: environment, stdio: ['ignore', 'ignore', 'pipe'] });
    const late = setTimeout(() => this.#child.kill('SIGKILL'), WAIT_MS);
    let said = '';
    for await (const part of this.#child.stderr.iterator({ destroyOnReturn: false })) {
      said += part;
      if (said.includes(`in a browser: ${this.url}\n`)) break;
    }
    clearTimeout(late);
    assert.ok(said.includes(this.url), `the server starts and says where the page is:\n${said}`);
    this.#child.stderr.resume();
  }

  async stop(signal) {
    const ended = once(this.#child, 'exit');
    this.#child.kill(signal);
    await ended;
  }
}

const checks = new Checks('playground');
const server = await Server.start();
const browser = await chromium.launch({ executablePath: chromiumPath, args: ['--no-sandbox'] });
const faults = [];

/** A tab with this page of the server, that is connected. What its console complains of is a fault of the page, unless a connection failed. */
async function tab(hash = '', options = {}, from = server) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (message) => {
    const isExpected = message.text().includes('WebSocket connection to');
    if (message.type() === 'error' && !isExpected) faults.push(message.text());
  });
  await page.goto(`${from.url}${hash}`);
  await state(page, 'connected');
  return page;
}

const state = (page, name) => page.locator(`#status[data-state=${name}]`).waitFor();
const shows = (page, selector, text) => page.locator(selector).filter({ hasText: text }).first().waitFor();

async function publish(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByRole('button', { name: 'Publish' }).click();
}

async function shot(page, name) {
  if (folder !== undefined) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}

/** Serious and critical faults, each with the element that has it. */
async function inspect(page) {
  // The page's own policy lets no foreign script in; this one comes by the debugger.
  if (!(await page.evaluate(() => 'axe' in globalThis))) {
    const { readFile } = await import('node:fs/promises');
    await page.evaluate(await readFile(axe, 'utf8'));
  }
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const told = grave.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} (${node.failureSummary})`).join('; ')}`);
  assert.deepEqual(told, []);
}

let ada;
let bob;

await checks.check('two tabs talk', async () => {
  ada = await tab();
  bob = await tab();
  await shows(ada, '#log-empty', 'Nothing yet');
  await shows(bob, '#log-empty', 'Nothing yet');
  await publish(ada, '{"text": "good morning", "n": 1}');
  for (const page of [ada, bob]) await shows(page, '#log .payload', '{ "text": "good morning", "n": 1 }');
  await shows(ada, '#publish-result', 'The server has taken it');
  await bob.getByLabel('Text', { exact: true }).check();
  await bob.getByLabel('Event').fill('greeting');
  await publish(bob, 'grüß Gott <b>alle</b>');
  for (const page of [ada, bob]) {
    await shows(page, '#log .payload', 'grüß Gott <b>alle</b>');
    await shows(page, '#log .event', 'greeting');
  }
});

await checks.check('text that is no JSON is not sent as JSON', async () => {
  await publish(ada, '{"text": ');
  await shows(ada, '#publish-result', 'This is not JSON');
  assert.equal(await ada.locator('#log li').count(), 2);
});

await checks.check('presence shows in both tabs, and follows', async () => {
  for (const [page, data] of [[ada, '{"name": "Ada"}'], [bob, 'Bob']]) {
    await page.getByLabel('Show yourself as').fill(data);
    await page.getByRole('button', { name: 'Join' }).click();
  }
  for (const page of [ada, bob]) {
    await shows(page, '#totals', '2 clients present');
    await shows(page, '.member', 'Ada');
    await shows(page, '.member', 'Bob');
    assert.equal(await page.locator('.you').count(), 1);
  }
  await bob.getByLabel('Show yourself as').fill('{"name": "Bob", "mood": "well"}');
  await bob.getByRole('button', { name: 'Update' }).click();
  await shows(ada, '.member', '"mood": "well"');
  await bob.getByRole('button', { name: 'Leave' }).click();
  await shows(ada, '#totals', '1 client present');
  await bob.getByRole('button', { name: 'Join' }).click();
  await shows(ada, '#totals', '2 clients present');
});

await checks.check('several channels are kept apart, and unread messages are counted', async () => {
  await ada.getByLabel('Another channel').fill('news');
  await ada.getByRole('button', { name: 'Subscribe', exact: true }).click();
  await shows(ada, '#title', 'news');
  await shows(ada, '#log-empty', 'Nothing yet');
  await publish(bob, 'for the lobby');
  await shows(ada, '#channels button', '1 new');
  assert.equal(await ada.locator('#log li').count(), 0);
  await ada.getByRole('button', { name: /chat:lobby/ }).click();
  await shows(ada, '#log .payload', 'for the lobby');
  assert.match(ada.url(), /#channels=chat%3Alobby,news$/);
});

await checks.check('a name that is none is told beside the field', async () => {
  await ada.getByLabel('Another channel').fill('$inside');
  await ada.keyboard.press('Enter');
  await shows(ada, '#subscribe-error', 'do not start with $');
  await ada.getByLabel('Another channel').fill('');
  await ada.locator('#subscribe-error').waitFor({ state: 'hidden' });
});

await checks.check('the snippets do what they show', async () => {
  await ada.getByRole('tab', { name: 'Command line' }).click();
  await publish(ada, '{"it": "isn\'t"}');
  const code = ada.locator('#code');
  await shows(ada, '#code', 'pulse pub');
  const lines = (await code.textContent()).split('\n');
  assert.equal(lines[0], `pulse sub --url ws://127.0.0.1:${server.port}/ws chat:lobby news`);
  const before = await bob.locator('#log li').count();
  const path = `${pulse.slice(0, pulse.lastIndexOf('/'))}:${process.env.PATH}`;
  await promisify(execFile)('sh', ['-c', lines[1]], { env: { PATH: path } });
  await bob.locator(`#log li:nth-child(${before + 1})`).waitFor();
  await shows(bob, '#log li:last-child .payload', '{ "it": "isn\'t" }');

  await ada.getByRole('tab', { name: 'Command line' }).press('Home');
  await shows(ada, '#code', 'new WebSocket');
  const script = await code.textContent();
  const run = `globalThis.WebSocket = (await import("ws")).default;
    const show = console.log;
    console.log = (frame) => { if (frame.type === "publish") { show(JSON.stringify(frame.payload)); process.exit(); } };
    ${script}`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', run]);
  assert.equal(stdout.trim(), '{"it":"isn\'t"}');

  await ada.keyboard.press('ArrowRight');
  await shows(ada, '#code', 'Client::connect');
  const rust = await code.textContent();
  assert.ok(rust.includes(`const URL: &str = "ws://127.0.0.1:${server.port}/ws";`), rust);
  assert.ok(rust.includes('const CHANNELS: &[&str] = &["chat:lobby", "news"];'), rust);
  assert.ok(rust.includes('const PAYLOAD: &str = "{\\"it\\":\\"isn\'t\\"}";'), rust);
});

/** Runs what the page shows for curl, and looks for the message in the page. */
async function curl(page, environment, expected) {
  const code = page.locator('#code');
  await shows(page, '#code', 'curl ');
  const before = await page.locator('#log li').count();
  const env = { PATH: process.env.PATH, ...environment };
  const { stdout } = await promisify(execFile)('sh', ['-c', `${await code.textContent()} -sS`], { env });
  assert.ok(JSON.parse(stdout).result?.offset > 0, stdout);
  await page.locator(`#log li:nth-child(${before + 1})`).waitFor();
  await shows(page, '#log li:last-child .payload', expected);
}

await checks.check('what it shows for curl publishes what is on screen', async () => {
  await ada.getByRole('tab', { name: 'curl' }).click();
  await ada.getByLabel('Message', { exact: true }).fill('{"it": "isn\'t $HOME"}');
  await shows(ada, '#code', '$HOME');
  await curl(ada, {}, '{ "it": "isn\'t $HOME" }');
  await ada.getByLabel('Text', { exact: true }).check();
  await ada.getByLabel('Event').fill("who's there");
  const nasty = '@it\'s `pwd` "$HOME" \\n ü';
  await ada.getByLabel('Message', { exact: true }).fill(nasty);
  await shows(ada, '#code', '`pwd`');
  await curl(ada, {}, nasty);
  await shows(ada, '#log li:last-child .event', "who's there");
  await ada.getByLabel('JSON', { exact: true }).check();
  await ada.getByLabel('Event').fill('');
});

await checks.check('it shows for curl how a key is sent, and says where there is nothing to ask', async () => {
  const key = '0123456789abcdef';
  const locked = await Server.start({ PULSE_API_KEY: key });
  const page = await tab('', {}, locked);
  await page.getByRole('tab', { name: 'curl' }).click();
  assert.ok(!(await page.content()).includes(key));
  await curl(page, { PULSE_API_KEY: key }, '{ "text": "hello" }');
  await page.context().close();
  await locked.stop('SIGKILL');
  const silent = await Server.start({ PULSE_API_ENABLED: 'off' });
  const other = await tab('', {}, silent);
  await other.getByRole('tab', { name: 'curl' }).click();
  await shows(other, '#code', 'api.enabled');
  await other.context().close();
  await silent.stop('SIGKILL');
});

await checks.check('the log keeps the newest 200 messages', async () => {
  const flood = await tab('#channels=flood');
  await flood.evaluate(() => {
    const socket = new WebSocket(`ws://${location.host}/ws`, 'pulse.v1.json');
    socket.onopen = () => {
      const frames = [{ type: 'connect', version: 1 }];
      for (let n = 1; n <= 500; n += 1) frames.push({ type: 'publish', channel: 'flood', payload: { n } });
      socket.send(frames.map((frame) => JSON.stringify(frame)).join('\n'));
    };
  });
  await shows(flood, '#log li:last-child .payload', '{ "n": 500 }');
  assert.equal(await flood.locator('#log li').count(), 200);
  await shows(flood, '#log li:first-child .payload', '{ "n": 301 }');
  await flood.context().close();
});

for (const colorScheme of ['light', 'dark']) {
  for (const [size, viewport] of [['desktop', { width: 1280, height: 900 }], ['tablet', { width: 820, height: 1100 }], ['phone', { width: 360, height: 740 }], ['narrow', { width: 320, height: 640 }]]) {
    await checks.check(`axe-core finds nothing grave: ${colorScheme}, ${size}`, async () => {
      await ada.setViewportSize(viewport);
      await ada.emulateMedia({ colorScheme });
      await ada.waitForFunction(() => {
        const log = document.getElementById('log');
        return log.scrollHeight - log.scrollTop - log.clientHeight < 8;
      }); // The newest message stays in sight, whatever the size.
      await shot(ada, `${size}-${colorScheme}`);
      const wide = await ada.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `nothing is wider than the screen, but by ${wide} px`);
      await inspect(ada);
    });
  }
}

await checks.check('both tabs come back by themselves after a restart, and are present again', async () => {
  await ada.setViewportSize({ width: 1280, height: 900 });
  await Promise.all([state(ada, 'waiting'), state(bob, 'waiting'), server.stop('SIGTERM')]);
  await shows(ada, '#status-text', 'Coming back in');
  await shot(ada, 'waiting');
  await inspect(ada);
  await publish(ada, '{"lost": true}');
  await shows(ada, '#publish-result', 'not connected: nothing was sent');
  await server.run();
  for (const page of [ada, bob]) {
    await state(page, 'connected');
    await shows(page, '#log .gap', 'Away since');
    await shows(page, '#totals', '2 clients present');
  }
  await publish(bob, 'back again');
  await shows(ada, '#log .payload', 'back again');
  await shot(ada, 'back');
});

await checks.check('a server that dies without a word is come back to as well', async () => {
  await server.stop('SIGKILL');
  await state(ada, 'waiting');
  await server.run();
  for (const page of [ada, bob]) await shows(page, '#totals', '2 clients present');
});

await checks.check('a server that says stay away is left alone until it is asked for', async () => {
  await server.stop('SIGKILL');
  const stern = new WebSocketServer({ port: server.port, host: '127.0.0.1', handleProtocols: () => 'pulse.v1.json' });
  let came = 0;
  stern.on('connection', (socket) => {
    came += 1;
    socket.send('{"type":"disconnect","code":4999,"reason":"not for you"}');
    socket.close(4999);
  });
  await Promise.all([state(ada, 'away'), state(bob, 'away')]);
  await shows(ada, '#status-detail', 'not for you (4999)');
  await shot(ada, 'away');
  await inspect(ada);
  const before = came;
  await bob.context().close();
  stern.close();
  for (const client of stern.clients) client.terminate();
  assert.equal(came, before);
  await server.run();
  await ada.getByRole('button', { name: 'Connect', exact: true }).click();
  await shows(ada, '#totals', '1 client present');
});

await checks.check('the page works by keyboard alone', async () => {
  const page = await tab('#channels=keys');
  await shows(page, '#log-empty', 'Nothing yet');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'message', 'the first stop leads to publishing');
  await page.keyboard.press('Control+Enter');
  await shows(page, '#log .payload', '{ "text": "hello" }');
  await shows(page, '#announcer', 'Message: { "text": "hello" }');
  await page.locator('#unsubscribe').focus();
  await page.keyboard.press('Enter');
  await shows(page, '#title', 'No channel');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'channel');
  await page.locator('#disconnect').focus();
  await page.keyboard.press('Enter');
  await state(page, 'off');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'connect');
  await page.keyboard.press('Enter');
  await state(page, 'connected');
  await shot(page, 'empty');
  await inspect(page);
});

await checks.check('nothing went wrong in the pages', () => assert.deepEqual(faults, []));

await browser.close();
await server.stop('SIGKILL');
checks.finish();
