package app

import (
	"context"
	"fmt"
	"math/rand/v2"
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
	deadline := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for time.Now().Before(deadline) {
				d.random(r, bodies)
			}
		})
	}
	wg.Wait()
	require.Zero(t, d.app.server.Counters().Panics)
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
