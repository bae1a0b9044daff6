// What runs inside the page: one phone, and probes of its call.
import { JsSipPhone } from './phone-jssip.mjs';
import { SipJsPhone } from './phone-sipjs.mjs';
import { Listener } from './audio.mjs';

let microphoneHz = 1000;
const state = { state: 'idle', code: 0, cause: '', by: '', heldByPeer: false };
const note = (fields) => Object.assign(state, fields);
let phone;
let listener;
let heard; // the track that listener listens to

function audioReceiver() {
  return phone.peerConnection()?.getReceivers().find((r) => r.track?.kind === 'audio');
}

async function stats() {
  const found = { sent: 0, received: 0, lost: 0, jitter: 0, dtls: '', codec: '' };
  const report = await phone.peerConnection().getStats();
  for (const s of report.values()) {
    if (s.type === 'inbound-rtp' && s.kind === 'audio') {
      found.received = s.packetsReceived;
      found.lost = s.packetsLost;
      found.jitter = s.jitter;
      found.codec = report.get(s.codecId)?.mimeType ?? '';
    }
    if (s.type === 'outbound-rtp' && s.kind === 'audio') found.sent = s.packetsSent;
    if (s.type === 'transport') found.dtls = s.dtlsState;
  }
  return found;
}

window.exam = {
  microphone: ({ hz }) => { microphoneHz = hz; }, // before the first call
  register: async ({ library, ...account }) => {
    phone = library === 'sipjs' ? new SipJsPhone(note) : new JsSipPhone(note);
    phone.microphoneHz = microphoneHz;
    await phone.register(account);
  },
  call: ({ target }) => phone.call(target, microphoneHz),
  // Not awaited: the promise of an answer that a CANCEL has overtaken never settles.
  answer: () => void phone.answer(microphoneHz).catch((e) => console.log(`answer: ${e}`)),
  reject: ({ code }) => phone.reject(code),
  hangup: async () => { await phone.hangup(); },
  transfer: async ({ target }) => { await phone.transfer(target); },
  hold: async () => { await phone.hold(); },
  unhold: async () => { await phone.unhold(); },
  restartIce: async () => { await phone.restartIce(); },
  state: () => ({ ...state }),
  reset: () => note({ state: 'idle', code: 0, cause: '', by: '', heldByPeer: false }),
  digits: ({ digits }) => {
    const sender = phone.peerConnection().getSenders().find((s) => s.track?.kind === 'audio');
    if (!sender?.dtmf?.canInsertDTMF) throw new Error('telephone-event was not negotiated');
    sender.dtmf.insertDTMF(digits, 100, 70);
  },
  tone: () => {
    const receiver = audioReceiver();
    if (!receiver) return { hz: 0, db: -Infinity };
    if (heard !== receiver.track) {
      listener?.close();
      listener = new Listener(receiver.track);
      heard = receiver.track;
    }
    return listener.dominant();
  },
  stats,
  connection: () => phone.peerConnection()?.connectionState ?? 'none',
  descriptions: () => ({
    local: phone.peerConnection()?.localDescription?.sdp ?? '',
    remote: phone.peerConnection()?.remoteDescription?.sdp ?? '',
  }),
};
