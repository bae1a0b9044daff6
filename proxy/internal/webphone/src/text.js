// Every sentence that tells how a call or a registration went.

const failures = {
  'Busy': 'The other side is busy.',
  'Rejected': 'The call was declined.',
  'Unavailable': 'The other side can’t be reached right now.',
  'Not Found': 'Nobody has this number.',
  'Address Incomplete': 'This number is not complete.',
  'No Answer': 'No answer.',
  'Expires': 'No answer.',
  'Request Timeout': 'The server did not answer in time.',
  'Connection Error': 'The connection to the server broke.',
  'Authentication Error': 'The server refused your user name or password.',
  'User Denied Media Access': 'The microphone can’t be used. Allow it for this page in the browser’s address bar, then call again.',
  'WebRTC Error': 'The browser could not set up the sound.',
  'Incompatible SDP': 'The two sides have no common way to send sound.',
  'Bad Media Description': 'The two sides have no common way to send sound.',
  'Missing SDP': 'The other side answered without saying how to send sound.',
  'RTP Timeout': 'No sound arrived any more.',
  'Redirected': 'The number has moved elsewhere.',
};

// Why a call ended. status is the SIP status of the final response, if any.
export function failureText({ cause, status, incoming, answered }) {
  if (cause === 'Canceled') return incoming ? 'Missed call.' : 'Call cancelled.';
  if (cause === 'Terminated') return 'Call ended.';
  if (cause === 'Rejected' && incoming) return 'Call declined.';
  if (status === 408 || status === 480) return status === 408 ? 'No answer.' : failures.Unavailable;
  if (answered && cause === 'Request Timeout') return 'The other side is gone.';
  return failures[cause] ?? (status ? `The call failed (${status}).` : 'The call failed.');
}

// Why a registration failed.
export function registrationText({ cause, response }) {
  switch (response?.status_code) {
    case 401: case 403: case 407: return 'The server refused your user name or password.';
    case 404: return 'The server does not know this user.';
    case 503: return 'The server is too busy.';
    default:
  }
  if (cause === 'Connection Error') return 'The connection to the server is down. Trying again by itself.';
  if (cause === 'Authentication Error') return 'The server refused your user name or password.';
  if (cause === 'Request Timeout') return 'The server does not answer.';
  return response ? `Registration failed (${response.status_code} ${response.reason_phrase}).` : 'Registration failed.';
}

export const statusText = { connecting: 'Connecting', registered: 'Ready', offline: 'Offline', refused: 'Not registered' };

// What the call is doing, for eyes and screen readers.
export function stateText(call) {
  switch (call.state) {
    case 'incoming': return 'is calling you';
    case 'calling': return 'Calling …';
    case 'ringing': return 'Ringing …';
    case 'early': return 'Ringing …';
    case 'ended': return call.reason;
    default:
  }
  if (call.heldHere && call.heldThere) return 'Both sides on hold';
  if (call.heldHere) return 'On hold';
  if (call.heldThere) return 'The other side holds the call';
  if (!call.mediaUp) return 'Connecting sound …';
  return call.muted ? 'Connected, you are muted' : 'Connected';
}

export function duration(ms) {
  const s = Math.max(Math.floor(ms / 1000), 0);
  const two = (n) => String(n).padStart(2, '0');
  return s < 3600 ? `${two(Math.floor(s / 60))}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}
