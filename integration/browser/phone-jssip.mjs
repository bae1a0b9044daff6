// A browser phone on JsSIP. Same methods as phone-sipjs.mjs.
import JsSIP from 'jssip';
import { microphoneStream } from './audio.mjs';

export class JsSipPhone {
  constructor(note) {
    this.note = note; // note(fields): what happened to the current call
    this.session = null;
  }

  register({ server, uri, user, password, ringSeconds }) {
    this.ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(server)],
      uri,
      authorization_user: user,
      password,
      no_answer_timeout: ringSeconds,
    });
    this.ua.on('newRTCSession', (event) => {
      if (event.originator === 'remote') this.take(event.session, 'incoming');
    });
    return new Promise((resolve, reject) => {
      this.ua.on('registered', () => resolve());
      this.ua.on('registrationFailed', (e) => reject(new Error(`registration failed: ${e.cause}`)));
      this.ua.start();
    });
  }

  take(session, state) {
    this.session = session;
    this.note({ state, code: 0, cause: '', heldByPeer: false });
    // A call that was transferred ends after the next one has begun.
    const note = (fields) => this.session === session && this.note(fields);
    session.on('progress', (e) => {
      if (e.originator === 'remote') note({ state: 'ringing', code: e.response.status_code });
    });
    session.on('confirmed', () => note({ state: 'confirmed' }));
    session.on('ended', (e) => note({ state: 'ended', cause: e.cause, by: e.originator }));
    session.on('failed', (e) =>
      note({ state: 'ended', cause: e.cause, by: e.originator, code: e.message?.status_code ?? 0 }));
    session.on('hold', (e) => e.originator === 'remote' && note({ heldByPeer: true }));
    session.on('refer', (e) => this.refer(e));
    session.on('unhold', (e) => e.originator === 'remote' && note({ heldByPeer: false }));
  }

  async call(target, hz) {
    const mediaStream = await microphoneStream(hz);
    this.take(this.ua.call(target, { mediaStream, pcConfig: { iceServers: [] } }), 'calling');
  }

  // refer follows a transfer: the call that the peer asks for becomes the current one.
  async refer(event) {
    const mediaStream = await microphoneStream(this.microphoneHz);
    event.accept((session) => this.take(session, 'calling'), { mediaStream, pcConfig: { iceServers: [] } });
  }

  transfer(target) {
    return new Promise((resolve, reject) => {
      this.session.refer(target, {
        eventHandlers: {
          accepted: () => resolve(),
          requestFailed: (e) => reject(new Error(`REFER: ${e.cause}`)),
          failed: (e) => reject(new Error(`transfer: ${e.message?.start_line}`)),
        },
      });
    });
  }

  async answer(hz) {
    const mediaStream = await microphoneStream(hz);
    this.session.answer({ mediaStream, pcConfig: { iceServers: [] } });
  }

  reject(code) {
    this.session.terminate({ status_code: code });
  }

  hangup() {
    this.session.terminate(); // CANCEL before the answer, BYE after it
  }

  hold() {
    return new Promise((resolve, reject) => {
      if (!this.session.hold({}, resolve)) reject(new Error('JsSIP cannot hold now'));
    });
  }

  unhold() {
    return new Promise((resolve, reject) => {
      if (!this.session.unhold({}, resolve)) reject(new Error('JsSIP cannot resume now'));
    });
  }

  restartIce() {
    return new Promise((resolve, reject) => {
      const options = { rtcOfferConstraints: { iceRestart: true } };
      if (!this.session.renegotiate(options, resolve)) reject(new Error('JsSIP cannot renegotiate now'));
    });
  }

  peerConnection() {
    return this.session?.connection;
  }
}
