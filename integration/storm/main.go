// Command storm connects as many browsers to the proxy as it is told to, all over TLS and WebSocket and all registered, then cuts
// every connection at once and has all come back within a time, with calls up and calls being made. It prints what that costs the
// proxy: memory a connection, processor time a handshake, answers in time, calls lost. Both ends run on this host; the browsers
// come from many addresses of 127.0.0.0/8.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// options of the command line.
type options struct {
	connections, sources, calls int
	rate                        float64
	within, ramp, settle        time.Duration
	key, binary, extra, dir     string
	resume                      bool
}

func main() {
	o := options{}
	flag.IntVar(&o.connections, "connections", 19800, "browsers; the limit of open files bounds both ends")
	flag.IntVar(&o.sources, "sources", 200, "addresses they come from")
	flag.IntVar(&o.calls, "calls", 200, "calls between browsers that are up during the storm")
	flag.Float64Var(&o.rate, "rate", 20, "calls a second made by phones during the storm")
	flag.DurationVar(&o.within, "within", 30*time.Second, "time in which all come back")
	flag.DurationVar(&o.ramp, "ramp", 40*time.Second, "time in which all come at first")
	flag.DurationVar(&o.settle, "settle", 10*time.Second, "quiet before memory is read")
	flag.StringVar(&o.key, "key", "ecdsa", "key of the proxy's certificate, ecdsa or rsa")
	flag.BoolVar(&o.resume, "resume", true, "browsers keep their TLS sessions, as real ones do")
	flag.StringVar(&o.binary, "proxy", "", "proxy to be measured; built from this tree if empty")
	flag.StringVar(&o.extra, "config", "", "more lines of its configuration")
	flag.StringVar(&o.dir, "dir", "", "folder of its files; a temporary one if empty")
	flag.Parse()
	if _, err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

// result is what was seen.
type result struct {
	registered, back       int // of all browsers
	callsUp, callsKept     int // over the storm
	callsMade, callsFailed int // during it
	bytesEach              int // memory of the proxy a registered connection
}

// run is the whole exam.
func run(o options, out io.Writer) (result, error) {
	var r result
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "storm")
		if err != nil {
			return r, err
		}
		defer os.RemoveAll(dir)
		o.dir = dir
	}
	s := newSwarm(o)
	p, err := startProxy(o.dir, o.key, o.binary, o.extra, s.names())
	if err != nil {
		return r, err
	}
	s.proxy = p
	defer s.close()
	err = s.exam(&r, out)
	if stopped := p.Stop(); err == nil {
		err = stopped
	}
	return r, err
}
