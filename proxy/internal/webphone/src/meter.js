// A Meter listens to a MediaStream without playing it: level and strongest frequency.
export class Meter {
  #analyser;
  #source = null;
  #stream = null;
  #samples;

  constructor(context) {
    this.#analyser = context.createAnalyser();
    this.#analyser.fftSize = 16384; // 3 Hz a bin at 48 kHz
    this.#analyser.smoothingTimeConstant = 0.2;
    this.#samples = new Float32Array(2048); // the newest 43 ms
  }

  attach(stream) {
    if (stream?.id === this.#stream?.id) return;
    this.detach();
    if (!stream) return;
    this.#stream = stream;
    this.#source = this.#analyser.context.createMediaStreamSource(stream);
    this.#source.connect(this.#analyser);
  }

  detach() {
    this.#source?.disconnect();
    this.#source = null;
    this.#stream = null;
  }

  // dBFS, -100 for silence.
  decibels() {
    if (!this.#source) return -100;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const s of this.#samples) sum += s * s;
    return Math.max(10 * Math.log10(sum / this.#samples.length + 1e-12), -100);
  }

  // 0-1 over the 60 dB that matter to the eye.
  level() { return Math.min(Math.max((this.decibels() + 60) / 54, 0), 1); }

  // Hz of the strongest bin, 0 when it is quiet.
  frequency() {
    if (this.decibels() < -60) return 0;
    const bins = new Float32Array(this.#analyser.frequencyBinCount);
    this.#analyser.getFloatFrequencyData(bins);
    let peak = 1;
    for (let i = 2; i < bins.length - 1; i++) if (bins[i] > bins[peak]) peak = i;
    const bend = bins[peak - 1] - 2 * bins[peak] + bins[peak + 1];
    const offset = Number.isFinite(bend) && bend !== 0 ? (bins[peak - 1] - bins[peak + 1]) / (2 * bend) : 0;
    return ((peak + offset) * this.#analyser.context.sampleRate) / this.#analyser.fftSize;
  }
}
