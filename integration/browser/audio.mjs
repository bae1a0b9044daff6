// The page's ears and mouth: a pure tone as the microphone, and the dominant
// frequency of whatever comes in. No device, real or fake, is involved.

const SILENCE_DB = -70; // a peak below this is noise of the analyser, not a tone

let context;
let microphone;

function audioContext() {
  if (!context) context = new AudioContext({ sampleRate: 48000 });
  return context;
}

// microphoneStream returns a fresh stream with one audio track of a sine at hz.
// Fresh because SIP.js stops the tracks of a call that has ended.
export async function microphoneStream(hz) {
  const ctx = audioContext();
  await ctx.resume();
  if (!microphone) {
    const oscillator = new OscillatorNode(ctx, { type: 'sine', frequency: hz });
    const gain = new GainNode(ctx, { gain: 0.5 });
    microphone = new MediaStreamAudioDestinationNode(ctx, { channelCount: 1 });
    oscillator.connect(gain).connect(microphone);
    oscillator.start();
  }
  return new MediaStream(microphone.stream.getAudioTracks().map((track) => track.clone()));
}

// Listener analyses one remote track.
export class Listener {
  constructor(track) {
    const ctx = audioContext();
    const stream = new MediaStream([track]);
    // Chromium feeds a remote track to WebAudio only while an element plays it.
    this.element = new Audio();
    this.element.srcObject = stream;
    this.element.muted = true;
    this.element.play().catch(() => {});
    this.source = ctx.createMediaStreamSource(stream);
    this.analyser = new AnalyserNode(ctx, { fftSize: 8192, smoothingTimeConstant: 0 });
    this.source.connect(this.analyser);
  }

  // dominant returns {hz, db}; hz is 0 when all is below the silence level.
  dominant() {
    const bins = new Float32Array(this.analyser.frequencyBinCount);
    this.analyser.getFloatFrequencyData(bins);
    let peak = 1;
    for (let i = 2; i < bins.length - 1; i++) if (bins[i] > bins[peak]) peak = i;
    const db = bins[peak];
    if (!(db > SILENCE_DB)) return { hz: 0, db };
    // A parabola through the peak and its neighbours finds the top between bins.
    const [a, b, c] = [bins[peak - 1], bins[peak], bins[peak + 1]];
    const shift = (a - c) / (2 * (a - 2 * b + c)) || 0;
    const width = this.analyser.context.sampleRate / this.analyser.fftSize;
    return { hz: (peak + shift) * width, db };
  }

  close() {
    this.source.disconnect();
    this.element.srcObject = null;
  }
}
