package rtp

// SequenceDistance is how far b lies after a on the circle of 16-bit sequence numbers (RFC 3550 §A.1), from −32768 to 32767.
func SequenceDistance(a, b uint16) int { return int(int16(b - a)) }

// SequenceAfter reports whether b comes after a.
func SequenceAfter(a, b uint16) bool { return int16(b-a) > 0 }
