// A Line is one user's registration over one WebSocket; it makes and takes calls.
import JsSIP from 'jssip';
import { Call } from './call.js';
import { registrationText } from './text.js';

// Fires 'status' and 'call' (detail: Call).
export class Line extends EventTarget {
  #ua;
  #call = null;

  // account: {user, password, name}; audio: getUserMedia constraints, read at each call.
  constructor({ domain, url, account, audio }) {
    super();
    this.account = account;
    this.domain = domain;
    this.audio = audio;
    this.status = 'connecting'; // connecting, registered, offline, refused
    this.reason = '';
    this.#ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(url)],
      uri: `sip:${account.user}@${domain}`,
      password: account.password,
      display_name: account.name || undefined,
      instance_id: instance(account.user),
      user_agent: 'Tandem web phone',
      connection_recovery_min_interval: 1,
      connection_recovery_max_interval: 15,
    });
    this.#ua.on('connecting', () => this.#set('connecting'));
    this.#ua.on('disconnected', ({ error }) => this.#set('offline', error ? registrationText({ cause: 'Connection Error' }) : ''));
    this.#ua.on('registered', () => this.#set('registered'));
    this.#ua.on('unregistered', () => this.#set('offline'));
    this.#ua.on('registrationFailed', (event) => this.#set('refused', registrationText(event)));
    this.#ua.on('newRTCSession', ({ session, originator }) => this.#session(session, originator));
  }

  start() { this.#ua.start(); }

  // Ends the call if there is one, de-registers and closes the socket.
  stop() { this.#ua.stop(); }

  // Tries at once instead of waiting for the next attempt.
  retry() {
    if (this.#ua.isConnected()) this.#ua.register();
    else { this.#ua.stop(); this.#ua.start(); }
  }

  get call() { return this.#call; }

  dial(target) {
    if (this.#call) throw new Error('one call at a time');
    const uri = target.includes('@') ? target : `${target.replace(/[\s()/-]+/g, '')}@${this.domain}`;
    this.#ua.call(uri, this.mediaOptions());
  }

  mediaOptions() {
    return {
      mediaConstraints: { audio: this.audio(), video: false },
      rtcOfferConstraints: { offerToReceiveAudio: true }, // JsSIP asks for no microphone when a call comes without an offer
      pcConfig: { iceServers: [], rtcpMuxPolicy: 'require' },
    };
  }

  #session(session, originator) {
    if (this.#call) {
      session.terminate({ status_code: 486, reason_phrase: 'Busy Here' });
      return;
    }
    const call = new Call(session, originator === 'remote', () => this.mediaOptions());
    this.#call = call;
    call.addEventListener('change', () => {
      if (call.state === 'ended' && this.#call === call) this.#call = null;
    });
    this.dispatchEvent(new CustomEvent('call', { detail: call }));
  }

  #set(status, reason = '') {
    if (this.status === 'refused' && status === 'offline' && this.#ua.isConnected()) return; // JsSIP says both
    this.status = status;
    this.reason = reason;
    this.dispatchEvent(new Event('status'));
  }
}

// One instance id (RFC 5626) a tab and user, so that a reloaded page replaces its old binding.
function instance(user) {
  const key = `tandem-instance-${user}`;
  let id = sessionStorage.getItem(key);
  if (!id) {
    id = crypto.randomUUID();
    sessionStorage.setItem(key, id);
  }
  return id;
}
