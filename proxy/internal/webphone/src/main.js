// Wires configuration, line, call and page together.
import { Line } from './line.js';
import { Meter } from './meter.js';
import { Ring } from './ring.js';
import * as view from './view.js';

const $ = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);

// ?raw switches the browser's speech filters off, which would take a steady test tone for noise.
const audio = () => (query.has('raw') ? { echoCancellation: false, noiseSuppression: false, autoGainControl: false } : true);

class App {
  #config;
  #line = null;
  #call = null;
  #context = new AudioContext({ latencyHint: 'interactive' });
  #meters = { local: new Meter(this.#context), remote: new Meter(this.#context) };
  #ring = new Ring(this.#context);
  #padOpen = false;
  #closing = 0;

  constructor(config) {
    this.#config = config;
    view.keys('dial-keys', (digit) => { $('number').value += digit; });
    view.keys('call-keys', (digit) => this.#digit(digit));
    view.suggestions(config.dial ?? [], (number) => this.dial(number));
    this.#listen();
    setInterval(() => this.#tick(), 1000);
    this.#draw();
  }

  start() {
    const users = this.#config.users ?? [];
    const wanted = query.get('user') ?? sessionStorage.getItem('tandem-user');
    const account = users.find((u) => u.user === wanted) ?? users[0];
    if (account) this.#use(account);
    else view.screen('sign-in');
  }

  #listen() {
    document.addEventListener('pointerdown', () => this.#context.resume(), { capture: true });
    document.addEventListener('keydown', (event) => this.#key(event), { capture: true });
    $('sign-in').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#use({ user: $('sign-in-user').value.trim(), password: $('sign-in-password').value, name: '' });
    });
    $('dialer').addEventListener('submit', (event) => { event.preventDefault(); this.dial($('number').value.trim()); });
    $('erase').addEventListener('click', () => { $('number').value = $('number').value.slice(0, -1); });
    $('accept').addEventListener('click', () => this.answer());
    $('hangup').addEventListener('click', () => this.#call?.hangup());
    $('mute').addEventListener('click', () => this.#call?.mute(!this.#call.muted));
    $('hold').addEventListener('click', () => this.hold(!this.#call?.heldHere));
    $('keypad').addEventListener('click', () => this.#pad(!this.#padOpen));
    $('notice-close').addEventListener('click', () => view.notice(''));
    window.addEventListener('pagehide', () => this.#line?.stop());
    window.addEventListener('pageshow', ({ persisted }) => { if (persisted) this.#line?.start(); }); // back from the browser's cache
    window.addEventListener('online', () => { if (this.#line?.status === 'offline') this.#line.retry(); });
  }

  #key(event) {
    this.#context.resume();
    if (event.key === 'Escape' && this.#padOpen) this.#pad(false);
    if (this.#call?.state === 'active' && /^[0-9*#]$/.test(event.key) && event.target.tagName !== 'INPUT') this.#digit(event.key);
  }

  #use(account) {
    this.#line?.stop();
    sessionStorage.setItem('tandem-user', account.user);
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const line = new Line({ domain: this.#config.domain, url: `${scheme}//${location.host}${this.#config.wsPath || '/ws'}`, account, audio });
    this.#line = line;
    line.addEventListener('status', () => this.#lineChanged(line));
    line.addEventListener('call', ({ detail }) => this.#begin(detail));
    const users = this.#config.users ?? [];
    view.account(account, users, (user) => this.#use(users.find((u) => u.user === user)));
    view.status(line);
    view.screen('idle');
    line.start();
  }

  #lineChanged(line) {
    if (line !== this.#line) return; // the last words of a user that was switched off
    view.status(line);
    if (line.status === 'registered') view.notice('');
    if (line.reason) view.notice(line.reason, () => line.retry());
    if (line.status === 'refused' && !this.#config.users?.length) view.screen('sign-in');
  }

  get line() { return this.#line; }

  get call() { return this.#call; }

  meter(side) { return this.#meters[side]; }

  dial(target) {
    if (!target) { $('number').focus(); return; }
    if (this.#line?.status !== 'registered') { view.notice('You are not registered, so calls are not possible yet.', () => this.#line?.retry()); return; }
    if (this.#call && this.#call.state !== 'ended') return;
    view.notice('');
    try {
      this.#line.dial(target);
    } catch {
      view.notice(`“${target}” is no number or name that can be called.`);
    }
  }

  answer() {
    if (this.#call?.state === 'incoming') this.#call.answer();
  }

  async hold(on) {
    if (this.#call && !(await this.#call.hold(on))) view.notice('The call can’t be changed right now. Try again in a moment.');
  }

  #digit(digit) {
    if (this.#call?.state === 'active') this.#call.digit(digit);
  }

  #pad(open) {
    this.#padOpen = open;
    view.pad(open);
  }

  #begin(call) {
    clearTimeout(this.#closing);
    this.#call = call;
    this.#pad(false);
    view.notice('');
    view.screen('call');
    call.addEventListener('change', () => this.#show(call));
    call.addEventListener('stream', () => this.#play(call));
    if (call.remote) this.#play(call);
    this.#show(call);
    (call.incoming ? $('accept') : $('hangup')).focus({ preventScroll: true });
  }

  #play(call) {
    $('remote').srcObject = call.remote;
    $('remote').play().catch(() => view.notice('The browser keeps the sound off until you tap the page.'));
    this.#meters.remote.attach(call.remote);
  }

  #show(call) {
    if (call !== this.#call) return;
    view.call(call);
    this.#ring.set({ incoming: 'bell', ringing: 'tone' }[call.state] ?? '');
    document.title = call.state === 'incoming' ? `☎ ${call.name} is calling` : 'Tandem phone';
    if (call.state === 'ended') this.#end(call);
  }

  #end(call) {
    this.#call = null;
    this.#meters.local.detach();
    this.#meters.remote.detach();
    $('remote').srcObject = null;
    this.#last = { peer: call.address, reason: call.reason, failed: call.failed, quality: call.quality };
    // The end stays readable for a moment; a failure stays as a notice that says what to do.
    this.#closing = setTimeout(() => {
      view.screen('idle');
      if (call.failed) view.notice(call.reason);
      $('number').focus({ preventScroll: true });
    }, 1200);
  }

  #last = null;

  get last() { return this.#last; }

  #tick() {
    this.#call?.measure();
  }

  #draw() {
    requestAnimationFrame(() => this.#draw());
    if (!this.#call || document.hidden) return;
    this.attachLocal();
    view.level('local', this.#call.muted || this.#call.heldHere ? 0 : this.#meters.local.level());
    view.level('remote', this.#meters.remote.level());
  }

  attachLocal() {
    if (this.#call) this.#meters.local.attach(this.#call.local);
  }

  resume() { return this.#context.resume(); }
}

// What browser tests use: state to read and the page's own actions to call. It can do nothing that the page can't.
function hook(app) {
  return Object.freeze({
    get user() { return app.line?.account.user ?? null; },
    get status() { return app.line?.status ?? null; },
    get registered() { return app.line?.status === 'registered'; },
    get state() { return app.call?.state ?? 'idle'; },
    get call() {
      const c = app.call;
      return c && {
        state: c.state, incoming: c.incoming, peer: c.address, name: c.name, muted: c.muted, digits: c.digits, mediaUp: c.mediaUp,
        heldHere: c.heldHere, heldThere: c.heldThere, seconds: c.since ? (Date.now() - c.since) / 1000 : 0,
        quality: { loss: c.quality.loss, jitter: c.quality.jitter, roundTrip: c.quality.roundTrip, codec: c.quality.codec, received: c.quality.received, sent: c.quality.sent },
      };
    },
    get last() { return app.last; },
    get peerConnection() { return app.call?.connection ?? null; },
    get notice() { return $('notice').hidden ? '' : $('notice-text').textContent; },
    // Hz and dBFS of what is sent ('local') and heard ('remote').
    frequency(side) { app.attachLocal(); return app.meter(side).frequency(); },
    decibels(side) { app.attachLocal(); return app.meter(side).decibels(); },
    async dial(target) { await app.resume(); app.dial(target); },
    async answer() { await app.resume(); app.answer(); },
    hangup() { app.call?.hangup(); },
    hold(on) { return app.hold(on); },
    mute(on) { app.call?.mute(on); },
    digit(digit) { app.call?.digit(digit); },
  });
}

async function main() {
  try {
    const response = await fetch('config.json', { cache: 'no-store' });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const app = new App(await response.json());
    window.tandemPhone = hook(app);
    app.start();
  } catch (error) {
    view.notice(`The phone could not start: ${error.message}. Reload the page to try again.`);
    view.screen('failed');
  }
}

main();
