package secure

import (
	"bytes"
	"testing"
)

// FuzzPackets lets every suite unprotect any bytes, which must fail for want of a
// tag, and protect any packet, which must come back as it was.
func FuzzPackets(f *testing.F) {
	rtp := append([]byte{0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}, "payload"...)
	extended := append([]byte{0x91, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0xbe, 0xde, 0, 1, 0x10, 1, 0, 0}, "payload"...)
	rtcp := []byte{0x80, 201, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0x80, 0, 0, 1}
	for s := range Suites() {
		f.Add(uint8(s), uint8(0), rtp)
		f.Add(uint8(s), uint8(1), extended)
		f.Add(uint8(s), uint8(2), rtcp)
	}
	f.Add(uint8(0), uint8(15), []byte{0xbf, 255})
	f.Fuzz(func(t *testing.T, suite, options uint8, packet []byte) {
		list := Suites()
		s := list[int(suite)%len(list)]
		key := Key{
			Suite: s, Master: bytes.Repeat([]byte{7}, s.KeyLen()+s.SaltLen()),
			UnencryptedSRTP: options&1 != 0, UnencryptedSRTCP: options&2 != 0, UnauthenticatedSRTP: options&4 != 0,
		}
		if options&8 != 0 {
			key.MKI = []byte{1, 2, 3, 4}
		}
		in, err := NewInbound(key)
		if err != nil {
			return // an option that the suite does not have
		}
		out, err := NewOutbound(key)
		if err != nil {
			t.Fatalf("a key for one direction only: %v", err)
		}
		if _, err := in.UnprotectRTP(nil, packet); err == nil && !key.UnauthenticatedSRTP {
			t.Errorf("%s accepts foreign RTP %x", s, packet)
		}
		if _, err := in.UnprotectRTCP(nil, packet); err == nil {
			t.Errorf("%s accepts foreign RTCP %x", s, packet)
		}
		if sealed, err := out.ProtectRTP(nil, packet); err == nil && !key.UnauthenticatedSRTP && !isCryptex(packet) {
			if clear, err := in.UnprotectRTP(nil, sealed); err != nil || !bytes.Equal(clear, packet) {
				t.Errorf("%s: RTP %x comes back as %x (%v)", s, packet, clear, err)
			}
		}
		if sealed, err := out.ProtectRTCP(nil, packet); err == nil {
			if clear, err := in.UnprotectRTCP(nil, sealed); err != nil || !bytes.Equal(clear, packet) {
				t.Errorf("%s: RTCP %x comes back as %x (%v)", s, packet, clear, err)
			}
		}
	})
}
