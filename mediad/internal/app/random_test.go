package app

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tandem-sbc/tandem/mediad/internal/settings"
	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// TestAnyOrderOfCommands sends commands in orders that no proxy would choose,
// with bodies of all kinds and some broken ones. Refusals are fine; a panic, a
// deadlock or something left over is not.
func TestAnyOrderOfCommands(t *testing.T) {
	d := startDaemon(t, func(s *settings.Settings) { twoInterfaces(s); s.Limits.Timeout = time.Hour })
	plainPhone, securePhone := newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1").withSDES("AES_CM_128_HMAC_SHA1_80")
	other := newPhone(t, "127.0.0.1").withSDES("AEAD_AES_256_GCM")
	web := newBrowser(t).offer(nil)
	bodies := []string{
		plainPhone.sdp(0), securePhone.sdp(1), other.sdp(2), web, newBrowser(t).offer(nil),
		strings.ReplaceAll(web, "a=setup:actpass", "a=setup:active"),
		strings.Replace(plainPhone.sdp(0), line(plainPhone.sdp(0), "m="), "m=audio 0 RTP/AVP 0", 1),
		plainPhone.sdp(0) + "m=video 4000 RTP/AVP 96\r\nm=image 4002 udptl t38\r\n",
		web[:len(web)/2], "v=0\r\n", "m=\r\n",
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	deadline := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(worker)))
			for time.Now().Before(deadline) {
				d.random(r, bodies)
			}
		})
	}
	wg.Wait()
	require.Zero(t, d.app.front.ng.Counters().Panics)
	for _, id := range d.list() {
		d.delete(&ng.Request{CallID: id})
	}
	stats, err := d.client.Statistics(context.Background())
	require.NoError(t, err)
	for _, s := range stats {
		counts := s.Get("controlstatistics").(ng.Dict)
		t.Logf("offers %v, answers %v, refused %v", counts.Get("totaloffercount"), counts.Get("totalanswercount"), counts.Get("totalerrorcount"))
	}
}

// random sends one command. Errors are part of the game.
func (d *daemon) random(r *rand.Rand, bodies []string) {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	ctx := context.Background()
	req := &ng.Request{
		CallID: fmt.Sprint("call ", r.IntN(3)), FromTag: pick("a", "b", "c"), ToTag: pick("", "a", "b", "c"),
		ViaBranch: pick("", "", "br1", "br2"), SDP: bodies[r.IntN(len(bodies))], SIPCode: []int{0, 183, 200}[r.IntN(3)],
		TransportProtocol: ng.TransportProtocol(pick("", "RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF")),
		ICE:               ng.ICE(r.IntN(5)), DTLS: ng.DTLS(r.IntN(4)), RTCPMux: ng.RTCPMux(r.IntN(32)), ICELite: ng.ICELite(r.IntN(5)),
		Direction: [2]string{pick("", "priv", "pub"), pick("", "priv", "pub")}, AddressFamily: ng.AddressFamily(r.IntN(3)),
		EndpointLearning: ng.EndpointLearning(r.IntN(5)),
	}
	for range r.IntN(3) {
		req.Flags.Set(ng.Flag(r.IntN(int(ng.FlagNoPlayer) + 1)))
	}
	switch r.IntN(10) {
	case 0:
		req.Command = ng.CommandDelete
		_, _ = d.client.Delete(ctx, req)
	case 1:
		req.Command = ng.CommandQuery
		_, _ = d.client.Query(ctx, req)
	case 2, 3, 4, 5:
		req.Command = ng.CommandOffer
		_, err := d.client.Offer(ctx, req)
		require.NotErrorIs(d.t, err, context.DeadlineExceeded)
	default:
		req.Command = ng.CommandAnswer
		_, err := d.client.Answer(ctx, req)
		require.NotErrorIs(d.t, err, context.DeadlineExceeded)
	}
}

// TestGarbageOnMediaPorts pours packets of strangers on the ports of a call
// between a browser and a phone. The call goes on, and nobody else hears it.
func TestGarbageOnMediaPorts(t *testing.T) {
	d := startDaemon(t, nil)
	b, p, stranger := newBrowser(t), newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")
	_, toBrowser := callPhone(d, b, p, nil)
	talk(t, b, p)
	number, err := strconv.Atoi(strings.Fields(line(toBrowser, "m=audio"))[1])
	require.NoError(t, err)
	browserPort := netip.AddrPortFrom(p.toRTP.Addr(), uint16(number))
	r := rand.New(rand.NewPCG(1, 2))
	// First bytes of STUN, DTLS, TURN channels, RTP and of nothing (RFC 7983).
	first := []byte{0, 1, 2, 20, 22, 23, 63, 64, 79, 127, 128, 144, 191, 192, 255}
	for i := range 4000 {
		pkt := make([]byte, r.IntN(1500))
		for j := range pkt {
			pkt[j] = byte(r.Uint32())
		}
		if len(pkt) > 8 {
			pkt[0] = first[i%len(first)]
			if pkt[0] < 2 { // a message type and the magic cookie of STUN
				copy(pkt[1:], []byte{1, 0, byte(len(pkt)), 0x21, 0x12, 0xa4, 0x42})
			}
		}
		to := []netip.AddrPort{browserPort, p.toRTP, p.toRTCP}[i%3]
		_, _ = stranger.rtp.WriteToUDPAddrPort(pkt, to)
		if i%100 == 0 {
			time.Sleep(time.Millisecond) // or the kernel drops most
		}
	}
	talk(t, b, p)
	require.Zero(t, d.app.front.ng.Counters().Panics)
	require.NotZero(t, d.query("call").RTP.Errors)
	require.Empty(t, stranger.payloads)
	d.delete(&ng.Request{CallID: "call"})
}
