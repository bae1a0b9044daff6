// Drives the web phone that the proxy serves, in headless Chromium, and prints a
// line a step. Usage: node exam.mjs PAGE_URL PHONE_CONTROL_URL FOLDER DOMAIN
// Screenshots of the steps stay in FOLDER.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from '../browser/node_modules/playwright-core/index.mjs';

const [page_url, control, folder, domain] = process.argv.slice(2);
const tone = 1000; // Hz that the browser's microphone gives
const step = (name) => console.log(name);

// A second of a sine, which Chromium plays in a loop as its microphone.
function microphone() {
  const rate = 48000;
  const wav = Buffer.alloc(44 + 2 * rate);
  wav.write('RIFF', 0); wav.writeUInt32LE(36 + 2 * rate, 4); wav.write('WAVEfmt ', 8);
  wav.writeUInt32LE(16, 16); wav.writeUInt16LE(1, 20); wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(rate, 24); wav.writeUInt32LE(2 * rate, 28); wav.writeUInt16LE(2, 32); wav.writeUInt16LE(16, 34);
  wav.write('data', 36); wav.writeUInt32LE(2 * rate, 40);
  for (let i = 0; i < rate; i++) wav.writeInt16LE(Math.round(12000 * Math.sin((2 * Math.PI * tone * i) / rate)), 44 + 2 * i);
  const path = join(folder, 'microphone.wav');
  writeFileSync(path, wav);
  return path;
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
    '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', `--use-file-for-fake-audio-capture=${microphone()}`],
});

const problems = [];

async function open(options) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  const page = await context.newPage();
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => { if (message.type() === 'error') problems.push(message.text()); });
  await page.goto(`${page_url}?raw`);
  await until(page, () => window.tandemPhone?.registered, 'registered');
  return page;
}

async function until(page, check, what, argument = null) {
  try {
    await page.waitForFunction(check, argument, { timeout: 15000, polling: 50 });
  } catch {
    await page.screenshot({ path: join(folder, 'failed.png') });
    const seen = await page.evaluate(() => window.tandemPhone && { status: tandemPhone.status, state: tandemPhone.state, call: tandemPhone.call, last: tandemPhone.last, notice: tandemPhone.notice });
    throw new Error(`not ${what}: ${JSON.stringify(seen)}`);
  }
}

const state = (page, wanted) => until(page, (s) => tandemPhone.state === s, wanted, wanted);
const talks = (page) => until(page, () => tandemPhone.call?.state === 'active' && tandemPhone.call.mediaUp, 'talking');
const hears = (page, hz) => until(page, (f) => Math.abs(tandemPhone.frequency('remote') - f) < 10, `hearing ${hz} Hz`, hz);
const idle = (page) => until(page, () => tandemPhone.state === 'idle' && document.body.dataset.screen === 'idle', 'idle');

async function calls() { return (await fetch(`${control}/calls`)).json(); }

async function phone(path, body = {}) {
  const response = await fetch(control + path, { method: 'POST', body: JSON.stringify(body) });
  const answer = await response.json();
  assert.equal(response.status, 200, `phone ${path}: ${JSON.stringify(answer)}`);
  return answer;
}

// phoneUntil waits for the phone's newest call to satisfy check.
async function phoneUntil(check, what) {
  let last;
  for (let i = 0; i < 200; i++) {
    last = (await calls()).at(-1);
    if (last && check(last)) return last;
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
  throw new Error(`the phone's call is not ${what}: ${JSON.stringify(last)}`);
}

const phoneHears = (hz) => phoneUntil((c) => Math.abs(c.rtp.frequencyHz - hz) < 10, `hearing ${hz} Hz`);

async function echo(page) {
  await page.click('#suggestion-list button:has-text("600")');
  await talks(page);
  await hears(page, tone);
  await until(page, () => tandemPhone.call.quality.received > 100 && tandemPhone.call.quality.codec, 'measured');
  const { quality } = await page.evaluate(() => tandemPhone.call);
  assert.ok(quality.loss < 1 && quality.jitter < 100 && quality.roundTrip !== null, JSON.stringify(quality));
  for (const side of ['local', 'remote']) {
    assert.ok(Number(await page.getAttribute(`#level-${side}`, 'aria-valuenow')) > 30, `the ${side} meter does not move`);
  }
  await page.screenshot({ path: join(folder, 'call.png') });
  await page.click('#hangup');
  await idle(page);
}

async function digitsHoldMute(page) {
  await page.fill('#number', '601');
  await page.click('#call');
  await talks(page);
  await hears(page, 440);
  await phoneHears(tone);
  await page.click('#keypad');
  for (const digit of ['1', '5', '9', 'hash']) await page.click(`#call-keys [aria-label="${digit}"]`);
  await phoneUntil((c) => c.rtp.digits === '159#', 'given the digits 159#');
  await page.click('#hold');
  await phoneUntil((c) => c.media !== 'sendrecv', 'on hold');
  await page.click('#hold');
  await phoneUntil((c) => c.media === 'sendrecv', 'resumed');
  await phoneHears(tone);
  await page.click('#mute');
  await phoneUntil((c) => c.rtp.frequencyHz === 0, 'hearing nothing from a muted page');
  await page.click('#mute');
  await phoneHears(tone);
  await page.waitForTimeout(500); // the page's ACK is on its way: no glare wanted here
  await phone('/hold');
  await until(page, () => tandemPhone.call.heldThere, 'held by the phone');
  await phone('/resume');
  await until(page, () => !tandemPhone.call.heldThere, 'resumed by the phone');
  await hears(page, 440);
  await phone('/hangup');
  await idle(page);
}

async function failures(page) {
  for (const [number, text] of [['603', 'The other side is busy.'], ['699', '']]) {
    await page.fill('#number', number);
    await page.click('#call');
    await until(page, () => tandemPhone.notice, `told why ${number} failed`);
    const notice = await page.evaluate(() => tandemPhone.notice);
    assert.ok(text ? notice === text : notice.length > 5, `${number}: ${notice}`);
    await page.click('#notice-close');
  }
  await page.fill('#number', '604');
  await page.click('#call');
  await state(page, 'ringing');
  await page.click('#hangup');
  await idle(page);
  await phoneUntil((c) => c.user === '604' && c.state === 'ended' && c.status === 487, 'cancelled');
}

async function earlyMedia(page) {
  await page.fill('#number', '605');
  await page.click('#call');
  await state(page, 'early');
  await hears(page, 440);
  await talks(page);
  await hears(page, 440);
  await page.click('#hangup');
  await idle(page);
}

async function calledBack(page) {
  await page.fill('#number', '602');
  await page.click('#call');
  await state(page, 'active');
  await state(page, 'incoming');
  assert.match(await page.title(), /602 is calling/);
  await page.screenshot({ path: join(folder, 'incoming.png') });
  await page.click('#accept');
  await talks(page);
  await hears(page, 440);
  await phoneHears(tone);
  const second = await phone('/call', { user: '600', to: `sip:alice@${domain}` });
  await phoneUntil((c) => c.id === second.id && c.status === 486, 'told that the page is busy');
  await page.click('#hangup');
  await idle(page);
}

async function lateOffer(page) {
  await phone('/call', { user: '601', to: `sip:alice@${domain}`, lateOffer: true });
  await state(page, 'incoming');
  await page.click('#accept');
  await talks(page);
  await hears(page, 440);
  await phoneHears(tone);
  await page.click('#hangup');
  await idle(page);
  await phone('/call', { user: '601', to: `sip:alice@${domain}` });
  await state(page, 'incoming');
  await page.click('#hangup');
  await phoneUntil((c) => c.state === 'ended' && c.status === 603, 'declined');
  await idle(page);
}

async function smallScreen() {
  const page = await open({ viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true });
  const fits = () => page.evaluate(() => ({
    wide: document.documentElement.scrollWidth > innerWidth,
    small: [...document.querySelectorAll('button, input, select')].filter((e) => e.checkVisibility({ visibilityProperty: true }))
      .map((e) => e.getBoundingClientRect()).filter((r) => r.width < 44 || r.height < 44).length,
  }));
  assert.deepEqual(await fits(), { wide: false, small: 0 });
  await page.tap('#suggestion-list button:has-text("601")');
  await talks(page);
  await page.tap('#keypad');
  assert.deepEqual(await fits(), { wide: false, small: 0 });
  await page.screenshot({ path: join(folder, 'small.png') });
  assert.ok(await page.evaluate(() => document.getElementById('hangup').getBoundingClientRect().bottom <= innerHeight), 'hang up is below the screen');

  await page.context().close(); // in mid-call
  await phoneUntil((c) => c.state === 'ended', 'ended after the page was closed');
}

try {
  const page = await open({ viewport: { width: 1180, height: 820 } });
  step('registered');
  for (const [name, exam] of Object.entries({ echo, digitsHoldMute, failures, earlyMedia, calledBack, lateOffer })) {
    await exam(page);
    step(name);
  }
  await page.context().close();
  await smallScreen();
  step('smallScreen');
  assert.deepEqual(problems, [], 'the page had errors');
} finally {
  await browser.close();
}
