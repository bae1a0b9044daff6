// The page's elements and how they follow the state. Nothing here knows SIP.
import { duration, stateText, statusText } from './text.js';

const $ = (id) => document.getElementById(id);
const letters = { 2: 'ABC', 3: 'DEF', 4: 'GHI', 5: 'JKL', 6: 'MNO', 7: 'PQRS', 8: 'TUV', 9: 'WXYZ', 0: '+' };

// What the suggested numbers are, to say so during a call.
const meanings = new Map();

export function screen(name) {
  document.body.dataset.screen = name;
  for (const button of $('suggestion-list').querySelectorAll('button')) button.disabled = name !== 'idle';
}

// keys fills a digit pad; press(digit) is called for clicks and taps.
export function keys(id, press) {
  for (const digit of '123456789*0#') {
    const key = document.createElement('button');
    key.type = 'button';
    key.textContent = digit;
    key.setAttribute('aria-label', { '*': 'star', '#': 'hash' }[digit] ?? digit);
    if (letters[digit]) {
      const small = document.createElement('small');
      small.textContent = letters[digit];
      key.append(small);
    }
    key.addEventListener('click', () => press(digit));
    $(id).append(key);
  }
}

export function status(line) {
  const pill = $('status');
  pill.dataset.status = line.status;
  pill.textContent = statusText[line.status];
  $('call').disabled = line.status !== 'registered';
}

// notice shows a message that stays until it is dismissed or replaced; action adds a "Try again" button.
export function notice(text, action = null) {
  $('notice').hidden = !text;
  $('notice-text').textContent = text;
  $('notice-action').hidden = !action;
  $('notice-action').onclick = action;
}

export function account(current, users, change) {
  $('me-name').textContent = `${current.name || current.user} · ${current.user}`;
  const select = $('switch-user');
  $('switch').hidden = users.length < 2;
  $('me-name').hidden = users.length >= 2;
  select.replaceChildren(...users.map((u) => new Option(u.name ? `${u.name} (${u.user})` : u.user, u.user, false, u.user === current.user)));
  select.onchange = () => change(select.value);
}

export function suggestions(numbers, dial) {
  const list = numbers.map(({ number, text }) => ({ number, text: text.charAt(0).toUpperCase() + text.slice(1) }));
  for (const { number, text } of list) meanings.set(number, text);
  $('suggestions').hidden = list.length === 0;
  $('suggestion-list').replaceChildren(...list.map(({ number, text }) => {
    const item = document.createElement('li');
    const button = document.createElement('button');
    button.type = 'button';
    const strong = document.createElement('strong');
    strong.textContent = number;
    const span = document.createElement('span');
    span.textContent = text;
    button.append(strong, span);
    button.addEventListener('click', () => dial(number));
    item.append(button);
    return item;
  }));
}

export function call(call) {
  const answered = call.state === 'active' || call.state === 'connecting';
  document.body.dataset.call = call.state;
  document.body.dataset.held = String(call.heldHere || call.heldThere);
  const number = /^[+\d*#]+$/.test(call.name);
  $('face-phone').toggleAttribute('hidden', !number);
  text('face', number ? '' : initials(call.name));
  text('peer', call.name);
  text('peer-address', meanings.get(call.user) ?? (call.address === call.name ? '' : call.address));
  text('call-state', stateText(call));
  text('timer', call.since ? duration(Date.now() - call.since) : '');
  text('hangup-text', { incoming: 'Decline', calling: 'Cancel', ringing: 'Cancel', early: 'Cancel' }[call.state] ?? 'Hang up');
  $('accept').hidden = call.state !== 'incoming';
  $('hangup').hidden = call.state === 'ended';
  $('actions').hidden = !answered;
  $('levels').hidden = !answered && call.state !== 'early';
  $('quality').hidden = !answered;
  pressed('mute', call.muted, call.muted ? 'Unmute' : 'Mute');
  pressed('hold', call.heldHere, call.heldHere ? 'Resume' : 'Hold');
  $('hold').querySelector('use').setAttribute('href', call.heldHere ? '#i-play' : '#i-pause');
  text('sent', call.digits);
  quality(call.quality);
}

function quality(q) {
  const value = (n, digits, unit) => (n === null ? '–' : `${n.toFixed(digits)} ${unit}`);
  text('q-loss', value(q.loss, 1, '%'));
  text('q-jitter', value(q.jitter, 0, 'ms'));
  text('q-rtt', q.roundTrip !== null && q.roundTrip < 1 ? '< 1 ms' : value(q.roundTrip, 0, 'ms'));
  text('q-codec', q.codec || '–');
  $('q-loss').dataset.grade = q.loss > 5 ? 'bad' : q.loss > 1 ? 'fair' : 'good';
  $('q-jitter').dataset.grade = q.jitter > 50 ? 'bad' : q.jitter > 30 ? 'fair' : 'good';
  $('q-rtt').dataset.grade = q.roundTrip > 300 ? 'bad' : q.roundTrip > 150 ? 'fair' : 'good';
}

export function pad(open) {
  $('pad').hidden = !open;
  pressed('keypad', open, open ? 'Hide keys' : 'Keypad');
  document.body.dataset.pad = String(open);
}

export function level(side, value) {
  const meter = $(`level-${side}`);
  meter.firstElementChild.style.transform = `scaleX(${value.toFixed(3)})`;
  meter.setAttribute('aria-valuenow', String(Math.round(value * 100)));
}

// text writes only what changed, so that screen readers hear each state once.
function text(id, value) {
  if ($(id).textContent !== value) $(id).textContent = value;
}

function pressed(id, on, label) {
  $(id).setAttribute('aria-pressed', String(on));
  $(id).querySelector('span').textContent = label;
}

function initials(name) {
  const words = name.replace(/@.*/, '').split(/[\s._-]+/).filter(Boolean);
  return (words.length > 1 ? words[0][0] + words.at(-1)[0] : (words[0] ?? '?').slice(0, 2)).toUpperCase();
}
