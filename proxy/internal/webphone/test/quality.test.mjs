import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Quality } from '../src/quality.js';

const connection = (...stats) => ({ getStats: async () => new Map(stats.map((s, i) => [s.id ?? `s${i}`, s])) });
const inbound = (fields) => ({ type: 'inbound-rtp', kind: 'audio', ssrc: 1, packetsLost: 0, packetsReceived: 0, jitter: 0.004, codecId: 'c', ...fields });
const codec = { type: 'codec', id: 'c', mimeType: 'audio/PCMA' };

test('loss is that of the last ten readings', async () => {
  const quality = new Quality();
  await quality.read(connection(inbound({ packetsLost: 50, packetsReceived: 50 }), codec));
  assert.equal(quality.loss, null, 'one reading tells nothing');
  for (let i = 1; i <= 10; i++) await quality.read(connection(inbound({ packetsLost: 55, packetsReceived: 50 + 95 * i }), codec));
  assert.equal(quality.loss, 0, 'old losses are forgotten');
  assert.equal(quality.jitter, 4);
  assert.equal(quality.codec, 'G.711 A');
});

test('round trip comes from the pair in use', async () => {
  const quality = new Quality();
  await quality.read(connection(
    { type: 'candidate-pair', nominated: false, state: 'succeeded', currentRoundTripTime: 9 },
    { type: 'candidate-pair', nominated: true, state: 'succeeded', currentRoundTripTime: 0.012 },
  ));
  assert.equal(quality.roundTrip, 12);
});

test('a new stream after a re-INVITE replaces the old one', async () => {
  const quality = new Quality();
  const old = inbound({ packetsReceived: 1000, lastPacketReceivedTimestamp: 100 });
  await quality.read(connection(old, codec));
  await quality.read(connection(inbound({ ssrc: 2, packetsReceived: 10, packetsLost: 0, lastPacketReceivedTimestamp: 200 }), old, codec));
  await quality.read(connection(inbound({ ssrc: 2, packetsReceived: 19, packetsLost: 1, lastPacketReceivedTimestamp: 210 }), old, codec));
  assert.equal(quality.received, 19);
  assert.equal(quality.loss, 10);
});
