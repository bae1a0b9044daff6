package tone

import (
	"math"
	"math/bits"
	"math/cmplx"
)

// silenceDBFS is the level below which no dominant tone is named.
const silenceDBFS = -60

// Dominant tells the strongest frequency of pcm in Hz and its level in dBFS (a full-scale sine is -3).
// It is 0 Hz when pcm is quieter than -60 dBFS or shorter than 32 samples. The error is below 1 Hz for a pure tone over a second.
func Dominant(pcm []int16) (hz, dbfs float64) {
	dbfs = Level(pcm)
	if dbfs < silenceDBFS || len(pcm) < 32 {
		return 0, dbfs
	}
	size := 1 << bits.Len(uint(len(pcm)-1))
	spectrum := make([]complex128, size)
	for i, s := range pcm { // Hann window, so that a tone between two bins does not smear
		window := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/float64(len(pcm)))
		spectrum[i] = complex(float64(s)*window, 0)
	}
	transform(spectrum)
	first := max(50*size/Rate, 1) // below 50 Hz is mains hum and offset
	peak := first
	for i := first; i < size/2-1; i++ {
		if cmplx.Abs(spectrum[i]) > cmplx.Abs(spectrum[peak]) {
			peak = i
		}
	}
	return (float64(peak) + offset(spectrum, peak)) * Rate / float64(size), dbfs
}

// offset is the distance in bins of the true peak from bin, by a parabola through the logarithms of three bins.
func offset(spectrum []complex128, bin int) float64 {
	left := math.Log(cmplx.Abs(spectrum[bin-1]) + 1)
	mid := math.Log(cmplx.Abs(spectrum[bin]) + 1)
	right := math.Log(cmplx.Abs(spectrum[bin+1]) + 1)
	if bend := left - 2*mid + right; bend != 0 {
		return (left - right) / (2 * bend)
	}
	return 0
}

// Level is the root mean square of pcm in dBFS, -100 for silence or nothing.
func Level(pcm []int16) float64 {
	var sum float64
	for _, s := range pcm {
		sum += float64(s) * float64(s)
	}
	if sum == 0 {
		return -100
	}
	return max(10*math.Log10(sum/float64(len(pcm))/(32768*32768)), -100)
}

// transform is an in-place radix-2 FFT; len(x) is a power of two.
func transform(x []complex128) {
	shift := 64 - bits.Len(uint(len(x)-1))
	for i := range x {
		if j := int(bits.Reverse64(uint64(i)) >> shift); j > i {
			x[i], x[j] = x[j], x[i]
		}
	}
	for half := 1; half < len(x); half *= 2 {
		step := cmplx.Exp(complex(0, -math.Pi/float64(half)))
		for start := 0; start < len(x); start += 2 * half {
			turn := complex(1, 0)
			for i := start; i < start+half; i++ {
				odd := turn * x[i+half]
				x[i], x[i+half] = x[i]+odd, x[i]-odd
				turn *= step
			}
		}
	}
}
