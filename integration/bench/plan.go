package main

import (
	"time"

	"github.com/tandem-sbc/tandem/integration/traffic"
)

// A figure is one kind of measurement: what is done with whom how often.
type figure struct {
	Name   string
	Title  string
	Site   string // "loopback" or "veth"
	Job    job
	Rounds int
	Files  int                   // descriptors the daemons are allowed; 0 = those of the system
	Sizes  []int                 // if set, Job.Calls in turn, each with a fresh daemon
	Skip   func(*candidate) bool // who has no part
}

const (
	loopback = "loopback"
	veth     = "veth"
)

// plan lists all figures, short ones if quick.
func plan(quick bool, rounds int) []figure {
	ramp, span, learn := 400*time.Millisecond, 2*time.Second, 4*time.Second
	rates, many, sizes, gone := []int{10000, 25000, 50000, 100000}, 2000, []int{100, 1000, 4900, 20000}, []int{1000, 50000}
	once := 1
	held := []int{1000, 4900}
	if quick {
		span, learn, rounds = time.Second, 3500*time.Millisecond, 1
		rates, many, sizes, gone, held = []int{10000, 50000}, 500, []int{100, 1000}, []int{1000, 4000}, []int{1000}
	}
	step := func(j job) job {
		j.Ramp, j.Span, j.Learn = ramp, span, learn
		return j
	}
	variant := func(c *candidate) bool { return c.Variant }
	crypto := func(c *candidate) bool { return c.Variant || c.Kernel } // the kernel engine leaves it to the one below
	return []figure{
		{Name: "relay", Title: "RTP to RTP, loopback", Site: loopback, Rounds: rounds,
			Job: step(job{Work: media, Kind: traffic.RTP, Calls: 1000, Steps: rates, Search: !quick})},
		{Name: "srtp", Title: "RTP to SRTP (AES_CM_128_HMAC_SHA1_80, keys in SDP), loopback", Site: loopback, Rounds: rounds, Skip: crypto,
			Job: step(job{Work: media, Kind: traffic.SRTP, Calls: 1000, Steps: []int{50000}})},
		{Name: "dtls", Title: "RTP to DTLS-SRTP, loopback", Site: loopback, Rounds: once, Skip: crypto,
			Job: step(job{Work: media, Kind: traffic.DTLS, Calls: 200, Steps: []int{10000}})},
		{Name: "veth", Title: "RTP to RTP, two veth pairs", Site: veth, Rounds: rounds, Skip: variant,
			Job: step(job{Work: media, Kind: traffic.RTP, Calls: 500, Steps: rates[len(rates)-2:]})},
		{Name: "set-up", Title: "offer, answer, delete", Site: loopback, Rounds: rounds, Skip: variant,
			Job: job{Work: setUp, Kind: traffic.RTP, Calls: many, Steps: []int{1, 8}}},
		{Name: "memory", Title: "memory of idle calls", Site: loopback, Rounds: once, Skip: variant,
			Job: job{Work: memory, Kind: traffic.RTP, Steps: held}},
		{Name: "crowd", Title: "cost by number of calls", Site: loopback, Rounds: once, Skip: variant, Sizes: sizes,
			Job: step(job{Work: crowd, Kind: traffic.RTP, Steps: []int{50000}})},
		{Name: "descriptors", Title: "20,000 calls with 4,096 file descriptors", Site: loopback, Rounds: once, Files: 4096, Sizes: sizes[len(sizes)-1:],
			Skip: func(c *candidate) bool { return c.Sockets },
			Job:  step(job{Work: crowd, Kind: traffic.RTP, Steps: []int{50000}})},
		{Name: "churn", Title: "what calls leave behind (at once, and up to 80 s later)", Site: loopback, Rounds: once, Skip: variant,
			Job: job{Work: churn, Kind: traffic.RTP, Steps: gone}},
	}
}
