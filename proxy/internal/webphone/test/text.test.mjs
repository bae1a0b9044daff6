import assert from 'node:assert/strict';
import { test } from 'node:test';
import { duration, failureText, registrationText, stateText } from '../src/text.js';

test('every way a call can fail has a sentence', () => {
  assert.equal(failureText({ cause: 'Busy', status: 486 }), 'The other side is busy.');
  assert.equal(failureText({ cause: 'Unavailable', status: 408 }), 'No answer.');
  assert.equal(failureText({ cause: 'Unavailable', status: 480 }), 'The other side can’t be reached right now.');
  assert.equal(failureText({ cause: 'Canceled', incoming: true }), 'Missed call.');
  assert.equal(failureText({ cause: 'Canceled', incoming: false }), 'Call cancelled.');
  assert.equal(failureText({ cause: 'Rejected', incoming: true }), 'Call declined.');
  assert.equal(failureText({ cause: 'Request Timeout', answered: true }), 'The other side is gone.');
  assert.match(failureText({ cause: 'User Denied Media Access' }), /microphone/);
  assert.equal(failureText({ cause: 'SIP Failure Code', status: 500 }), 'The call failed (500).');
  assert.equal(failureText({ cause: 'something new' }), 'The call failed.');
});

test('a refused password is told from a broken connection', () => {
  assert.match(registrationText({ response: { status_code: 401 } }), /password/);
  assert.match(registrationText({ cause: 'Connection Error' }), /connection/);
  assert.equal(registrationText({ response: { status_code: 500, reason_phrase: 'Oops' } }), 'Registration failed (500 Oops).');
});

test('hold and mute show in the state', () => {
  const call = { state: 'active', mediaUp: true };
  assert.equal(stateText(call), 'Connected');
  assert.equal(stateText({ ...call, muted: true }), 'Connected, you are muted');
  assert.equal(stateText({ ...call, heldHere: true }), 'On hold');
  assert.equal(stateText({ ...call, heldThere: true }), 'The other side holds the call');
  assert.equal(stateText({ ...call, heldHere: true, heldThere: true }), 'Both sides on hold');
  assert.equal(stateText({ ...call, mediaUp: false }), 'Connecting sound …');
});

test('durations', () => {
  assert.deepEqual([-5, 0, 61_000, 3_600_000, 36_061_000].map(duration), ['00:00', '00:00', '01:01', '1:00:00', '10:01:01']);
});
