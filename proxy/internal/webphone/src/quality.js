// Quality reads the statistics of a peer connection once a second.
export class Quality {
  codec = '';
  loss = null; // percent of the packets meant for us, over the last ten readings
  jitter = null; // ms
  roundTrip = null; // ms, between the browser and the media daemon
  received = 0;
  sent = 0;
  #history = [];

  async read(connection) {
    const report = await connection.getStats();
    let pair = null;
    let inbound = null; // a re-INVITE can leave an older stream behind in the report
    for (const s of report.values()) {
      if (s.type === 'inbound-rtp' && s.kind === 'audio' && !(inbound?.lastPacketReceivedTimestamp > (s.lastPacketReceivedTimestamp ?? 0))) inbound = s;
      if (s.type === 'outbound-rtp' && s.kind === 'audio') this.sent = s.packetsSent;
      if (s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded') pair = s;
    }
    if (inbound) this.#inbound(inbound, report);
    const seconds = pair?.currentRoundTripTime;
    if (seconds !== undefined) this.roundTrip = seconds * 1000;
  }

  #inbound(s, report) {
    this.received = s.packetsReceived;
    this.jitter = (s.jitter ?? 0) * 1000;
    this.codec = codecName(report.get(s.codecId)) || this.codec;
    if (this.#history[0]?.ssrc !== s.ssrc) this.#history = [];
    this.#history.push({ ssrc: s.ssrc, lost: s.packetsLost, received: s.packetsReceived });
    if (this.#history.length > 10) this.#history.shift();
    const first = this.#history[0];
    const lost = Math.max(s.packetsLost - first.lost, 0);
    const all = lost + s.packetsReceived - first.received;
    if (all > 0) this.loss = (100 * lost) / all;
  }
}

function codecName(codec) {
  return { opus: 'Opus', PCMA: 'G.711 A', PCMU: 'G.711 µ', G722: 'G.722' }[codec?.mimeType.split('/')[1]] ?? codec?.mimeType.split('/')[1];
}
