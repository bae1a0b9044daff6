// A Call is one JsSIP session with its media, reduced to what the page shows.
import JsSIP from 'jssip';
import { failureText } from './text.js';
import { Quality } from './quality.js';

// Fires 'change' whenever something that the page shows has changed, and 'stream' when audio has come or gone.
export class Call extends EventTarget {
  #session;
  #media;
  #held = { local: false, remote: false };
  #local = null;

  // media() gives JsSIP's media options at the time of the answer.
  constructor(session, incoming, media) {
    super();
    this.#session = session;
    this.#media = media;
    this.incoming = incoming;
    this.state = incoming ? 'incoming' : 'calling'; // incoming, calling, ringing, early, connecting, active, ended
    this.since = 0; // ms of the answer
    this.reason = '';
    this.failed = false;
    this.muted = false;
    this.digits = '';
    this.remote = null; // MediaStream
    this.quality = new Quality();
    const identity = session.remote_identity;
    this.user = decodeURIComponent(identity.uri.user || '');
    this.address = `${this.user}@${identity.uri.host}`;
    this.name = identity.display_name || this.user || this.address;
    if (session.connection) this.#connected(session.connection);
    this.#listen();
  }

  #listen() {
    const s = this.#session;
    s.on('peerconnection', ({ peerconnection }) => this.#connected(peerconnection));
    s.on('progress', ({ originator, response }) => {
      if (originator === 'remote') this.#set(response.body ? 'early' : 'ringing');
    });
    s.on('accepted', () => { this.since = Date.now(); this.#set('connecting'); });
    s.on('confirmed', () => { this.since ||= Date.now(); this.#set('active'); });
    s.on('hold', ({ originator }) => { this.#held[originator] = true; this.#changed(); });
    s.on('unhold', ({ originator }) => { this.#held[originator] = false; this.#changed(); });
    s.on('muted', () => { this.muted = true; this.#changed(); });
    s.on('unmuted', () => { this.muted = false; this.#changed(); });
    s.on('ended', (event) => this.#end(event));
    s.on('failed', (event) => this.#end(event));
  }

  #connected(connection) {
    if (this.connection === connection) return;
    this.connection = connection;
    connection.addEventListener('track', ({ track, streams }) => {
      this.remote = streams[0] || new MediaStream([track]);
      this.dispatchEvent(new Event('stream'));
    });
    connection.addEventListener('connectionstatechange', () => this.#changed());
  }

  #end({ originator, message, cause }) {
    const answered = this.since > 0;
    this.failed = !(originator === 'local' && (cause === 'Terminated' || cause === 'Canceled' || cause === 'Rejected')) && !(answered && cause === 'Terminated');
    this.reason = failureText({ cause, status: message?.status_code, incoming: this.incoming, answered });
    this.#set('ended');
  }

  #set(state) {
    if (this.state === 'ended') return;
    this.state = state;
    this.#changed();
  }

  #changed() { this.dispatchEvent(new Event('change')); }

  get local() {
    const track = this.connection?.getSenders().find((s) => s.track?.kind === 'audio')?.track;
    if (track !== this.#local?.getAudioTracks()[0]) this.#local = track ? new MediaStream([track]) : null;
    return this.#local;
  }

  get heldHere() { return this.#held.local; }

  get heldThere() { return this.#held.remote; }

  // DTLS and ICE are done: sound can pass.
  get mediaUp() { return this.connection?.connectionState === 'connected'; }

  answer() {
    this.#set('connecting');
    this.#session.answer(this.#media());
  }

  // Cancels, declines or ends, as the state asks for.
  hangup() {
    if (this.state === 'ended') return;
    this.#session.terminate(this.state === 'incoming' ? { status_code: 603, reason_phrase: 'Decline' } : {});
  }

  // Gives a promise that ends with the re-INVITE; false when JsSIP can't send one now.
  hold(on) {
    return new Promise((resolve) => {
      const sent = on ? this.#session.hold({}, () => resolve(true)) : this.#session.unhold({}, () => resolve(true));
      if (!sent) resolve(false);
    });
  }

  mute(on) {
    if (on) this.#session.mute({ audio: true });
    else this.#session.unmute({ audio: true });
  }

  // Sends a digit as RFC 4733 telephone-event.
  digit(digit) {
    this.#session.sendDTMF(digit, { transportType: JsSIP.C.DTMF_TRANSPORT.RFC2833, duration: 160, interToneGap: 70 });
    this.digits += digit;
    this.#changed();
  }

  async measure() {
    if (!this.connection || this.state === 'ended') return;
    await this.quality.read(this.connection);
    this.#changed();
  }
}
