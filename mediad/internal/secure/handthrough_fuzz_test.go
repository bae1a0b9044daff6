package secure

import "testing"

// FuzzUnprotect: what comes from outside neither panics nor passes without the key, whatever the suite; and a packet that was handed
// through is the one that came.
func FuzzUnprotect(f *testing.F) {
	key := func(s Suite) Key { return Key{Suite: s, Master: make([]byte, s.KeyLen()+s.SaltLen())} }
	for _, s := range Suites() {
		out, err := NewOutbound(key(s))
		if err != nil {
			f.Fatal(err)
		}
		media, err := out.ProtectRTP(nil, packet(f, 1, 1))
		if err != nil {
			f.Fatal(err)
		}
		control, err := out.ProtectRTCP(nil, report(f, 1))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(s), media)
		f.Add(uint8(s), control)
	}
	f.Add(uint8(F8128HMAC32), []byte{0x9f, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xbe, 0xde, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, suite uint8, pkt []byte) {
		s := Suite(suite)
		if s.KeyLen() == 0 {
			return
		}
		in, err := NewInbound(key(s))
		if err != nil {
			t.Fatal(err)
		}
		out, err := in.HandThrough(key(s), nil)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := in.UnprotectRTP(nil, pkt); err == nil {
			if again, err := out.ProtectRTP(nil, plain); err != nil || string(again) != string(pkt) {
				t.Fatal("changed on its way", err)
			}
		}
		if plain, err := in.UnprotectRTCP(nil, pkt); err == nil {
			if again, err := out.ProtectRTCP(nil, plain); err == nil && string(again) != string(pkt) {
				t.Fatal("changed on its way")
			}
		}
	})
}
