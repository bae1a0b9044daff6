// Ring makes the sounds of waiting: a bell for the callee, a ringing tone for the caller.
export class Ring {
  #context;
  #timer = 0;
  #kind = '';

  constructor(context) { this.#context = context; }

  // kind: 'bell', 'tone' or '' for quiet.
  set(kind) {
    if (kind === this.#kind) return;
    this.#kind = kind;
    clearInterval(this.#timer);
    if (!kind) return;
    const play = kind === 'bell' ? () => this.#bell() : () => this.#beep(425, 0, 1, 0.06);
    play();
    this.#timer = setInterval(play, kind === 'bell' ? 2400 : 4000);
  }

  #bell() {
    for (let i = 0; i < 4; i++) this.#beep(i % 2 ? 880 : 660, i * 0.16, 0.15, 0.12);
  }

  #beep(hz, delay, length, volume) {
    if (this.#context.state !== 'running') return; // no gesture yet: the browser allows no sound
    const start = this.#context.currentTime + delay;
    const oscillator = new OscillatorNode(this.#context, { frequency: hz });
    const gain = new GainNode(this.#context, { gain: 0 });
    gain.gain.setTargetAtTime(volume, start, 0.01);
    gain.gain.setTargetAtTime(0, start + length - 0.05, 0.015);
    oscillator.connect(gain).connect(this.#context.destination);
    oscillator.start(start);
    oscillator.stop(start + length);
  }
}
