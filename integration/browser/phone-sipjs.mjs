// A browser phone on SIP.js. Same methods as phone-jssip.mjs.
import { Inviter, Registerer, RegistererState, SessionState, UserAgent, Web } from 'sip.js';
import { microphoneStream } from './audio.mjs';

export class SipJsPhone {
  constructor(note) {
    this.note = note;
    this.session = null;
    this.hz = 0;
  }

  async register({ server, uri, user, password, ringSeconds }) {
    this.ua = new UserAgent({
      uri: UserAgent.makeURI(uri),
      transportOptions: { server },
      authorizationUsername: user,
      authorizationPassword: password,
      noAnswerTimeout: ringSeconds,
      logLevel: 'warn',
      sessionDescriptionHandlerFactory: Web.defaultSessionDescriptionHandlerFactory(
        () => microphoneStream(this.hz)),
      sessionDescriptionHandlerFactoryOptions: { peerConnectionConfiguration: { iceServers: [] } },
      delegate: {
        onInvite: (invitation) => {
          this.take(invitation, 'incoming');
          invitation.delegate.onCancel = () => this.note({ cause: 'Canceled', by: 'remote' });
        },
      },
    });
    await this.ua.start();
    const registerer = new Registerer(this.ua);
    await new Promise((resolve, reject) => {
      registerer.stateChange.addListener((state) => {
        if (state === RegistererState.Registered) resolve();
      });
      registerer.register({
        requestDelegate: { onReject: (r) => reject(new Error(`registration failed: ${r.message.statusCode}`)) },
      }).catch(reject);
    });
  }

  take(session, state) {
    this.session = session;
    this.note({ state, code: 0, cause: '', heldByPeer: false });
    // A call that was transferred ends after the next one has begun.
    const note = (fields) => this.session === session && this.note(fields);
    session.stateChange.addListener((now) => {
      if (now === SessionState.Established) note({ state: 'confirmed' });
      if (now === SessionState.Terminated) note({ state: 'ended' });
    });
    session.delegate = {
      onBye: (bye) => {
        note({ cause: 'Terminated', by: 'remote' });
        return bye.accept(); // with this handler set, SIP.js leaves the 200 to us
      },
      onRefer: async (referral) => {
        await referral.accept();
        this.hz = this.microphoneHz;
        const next = referral.makeInviter();
        this.take(next, 'calling');
        await next.invite();
      },
      onInvite: (request) => {
        const direction = /^a=(sendonly|inactive)/m.test(request.body);
        note({ heldByPeer: direction });
      },
    };
  }

  async call(target, hz) {
    this.hz = hz;
    const session = new Inviter(this.ua, UserAgent.makeURI(target));
    this.take(session, 'calling');
    await session.invite({
      requestDelegate: {
        onProgress: (r) => this.note({ state: 'ringing', code: r.message.statusCode }),
        onReject: (r) => this.note({ code: r.message.statusCode, cause: r.message.reasonPhrase, by: 'remote' }),
      },
    });
  }

  transfer(target) {
    return new Promise((resolve, reject) => {
      this.session.refer(UserAgent.makeURI(target), {
        onNotify: (n) => {
          n.accept();
          if (/^SIP\/2\.0 2/.test(n.request.body)) resolve();
          if (/^SIP\/2\.0 [3-6]/.test(n.request.body)) reject(new Error(`transfer: ${n.request.body}`));
        },
        requestDelegate: { onReject: (r) => reject(new Error(`REFER: ${r.message.statusCode}`)) },
      }).catch(reject);
    });
  }

  async answer(hz) {
    this.hz = hz;
    await this.session.accept();
  }

  reject(code) {
    return this.session.reject({ statusCode: code });
  }

  hangup() {
    if (this.session.state === SessionState.Established) return this.session.bye();
    if (this.session instanceof Inviter) return this.session.cancel();
    return this.session.reject();
  }

  hold() {
    return this.setHold(true);
  }

  unhold() {
    return this.setHold(false);
  }

  async setHold(hold) {
    await this.reinvite({ hold });
    // SIP.js goes on sending the microphone while on hold unless told not to.
    for (const sender of this.peerConnection().getSenders()) {
      if (sender.track) sender.track.enabled = !hold;
    }
  }

  async restartIce() {
    await this.reinvite({ offerOptions: { iceRestart: true } });
  }

  reinvite(options) {
    this.session.sessionDescriptionHandlerOptionsReInvite = options;
    return new Promise((resolve, reject) => {
      this.session.invite({
        requestDelegate: {
          onAccept: () => resolve(),
          onReject: (r) => reject(new Error(`re-INVITE: ${r.message.statusCode}`)),
        },
      }).catch(reject);
    });
  }

  peerConnection() {
    return this.session?.sessionDescriptionHandler?.peerConnection;
  }
}
