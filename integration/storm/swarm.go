package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// swarm is all agents of an exam: browsers in pairs that call each other, and two phones.
type swarm struct {
	options
	proxy    *proxy
	browsers []*browser
	phones   [2]*agent
}

// browser is an agent whose connections come and go.
type browser struct {
	*agent
	source string
	tls    *tls.Config
}

func newSwarm(o options) *swarm {
	s := &swarm{options: o}
	for i := range o.connections {
		name := fmt.Sprintf("b%d", i)
		n := i % o.sources
		s.browsers = append(s.browsers, &browser{
			agent: newAgent(name, "WSS", name+".invalid"), source: fmt.Sprintf("127.1.%d.%d", n/250, 1+n%250),
		})
	}
	return s
}

func (s *swarm) names() []string {
	names := []string{"phone0", "phone1"}
	for _, b := range s.browsers {
		names = append(names, b.name)
	}
	return names
}

// close cuts everything.
func (s *swarm) close() {
	for _, b := range s.browsers {
		b.detach()
	}
	for _, p := range s.phones {
		if p != nil {
			p.detach()
		}
	}
}

// wave is how many came, how fast, and what went wrong.
type wave struct {
	mu       sync.Mutex
	came     int
	resumed  int
	retries  int
	times    []time.Duration // from dialling to registered
	failures map[string]int
}

var addresses = regexp.MustCompile(`127\.[0-9.:]+`) // of one error, which is the same for all

// arrive lets all browsers connect and register, spread evenly at random over a time. One that fails tries again, as pages do.
func (s *swarm) arrive(within time.Duration) *wave {
	w := &wave{failures: map[string]int{}}
	// The browsers' own handshakes share the processors of this host; real ones would not.
	places := make(chan struct{}, 64)
	var all sync.WaitGroup
	for _, b := range s.browsers {
		wait := time.Duration(rand.Int64N(int64(within) + 1))
		all.Go(func() {
			time.Sleep(wait)
			for try := range 3 {
				began := time.Now()
				places <- struct{}{}
				resumed, err := s.connect(b)
				<-places
				if err == nil {
					err = b.register()
				}
				w.mu.Lock()
				if err == nil {
					w.came++
					w.times = append(w.times, time.Since(began))
					if resumed {
						w.resumed++
					}
					w.mu.Unlock()
					return
				}
				w.failures[addresses.ReplaceAllString(err.Error(), "…")]++
				if try < 2 {
					w.retries++
				}
				w.mu.Unlock()
				b.detach()
				time.Sleep(time.Second)
			}
		})
	}
	all.Wait()
	slices.Sort(w.times)
	return w
}

func (s *swarm) connect(b *browser) (resumed bool, err error) {
	if b.tls == nil {
		b.tls = &tls.Config{RootCAs: s.proxy.roots, ServerName: host}
		if s.resume {
			b.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
	}
	l, resumed, err := dialWeb(s.proxy.wss, b.source, b.tls)
	if err != nil {
		return false, err
	}
	b.attach(l)
	return resumed, nil
}

func (w *wave) print(out io.Writer, what string, took time.Duration, cpu time.Duration) {
	fmt.Fprintf(out, "%s: %d in %.1f s, %d with a resumed TLS session, %d had to try again", what, w.came, took.Seconds(), w.resumed, w.retries)
	if n := len(w.times); n > 0 {
		fmt.Fprintf(out, "; dial to registered: median %v, 99 %% %v, longest %v", round(w.times[n/2]), round(w.times[n*99/100]), round(w.times[n-1]))
		fmt.Fprintf(out, "; proxy CPU %.0f µs each", float64(cpu.Microseconds())/float64(n))
	}
	fmt.Fprintln(out)
	for text, n := range w.failures {
		fmt.Fprintf(out, "  %d × %s\n", n, text)
	}
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// exam is what run tells of.
func (s *swarm) exam(r *result, out io.Writer) error {
	if err := s.answerPhones(); err != nil {
		return err
	}
	before, err := s.proxy.use()
	if err != nil {
		return err
	}
	began := time.Now()
	first := s.arrive(s.ramp)
	after, err := s.proxy.use()
	if err != nil {
		return err
	}
	first.print(out, "first arrival ("+s.key+")", time.Since(began), after.cpu-before.cpu)
	r.registered = first.came
	time.Sleep(s.settle)
	idle, err := s.proxy.use()
	if err != nil {
		return err
	}
	r.bytesEach = (idle.resident - before.resident) / max(1, first.came)
	fmt.Fprintf(out, "memory: %.1f MiB before, %.1f MiB with %d registered: %.1f KiB each\n", mebi(before.resident), mebi(idle.resident),
		first.came, float64(r.bytesEach)/1024)

	calls := s.setUp(out)
	r.callsUp = len(calls)
	start, err := s.proxy.use()
	if err != nil {
		return err
	}
	stop, made := make(chan struct{}), make(chan *traffic, 1)
	go func() { made <- s.keepCalling(stop) }()
	for _, b := range s.browsers {
		b.detach()
	}
	began = time.Now()
	storm := s.arrive(s.within)
	took := time.Since(began)
	close(stop)
	t := <-made
	end, err := s.proxy.use()
	if err != nil {
		return err
	}
	storm.print(out, "reconnect storm", took, end.cpu-start.cpu)
	fmt.Fprintf(out, "memory in the storm: %.1f MiB\n", mebi(end.resident))
	r.back, r.callsMade, r.callsFailed = storm.came, t.made, t.failed
	fmt.Fprintf(out, "calls made during the storm: %d, failed %d%s\n", t.made, t.failed, t.text())
	r.callsKept = hangUp(calls, out)
	fmt.Fprintf(out, "calls up over the storm: %d, still up afterwards %d\n", r.callsUp, r.callsKept)
	return nil
}

func mebi(bytes int) float64 { return float64(bytes) / (1 << 20) }

// answerPhones registers the two phones.
func (s *swarm) answerPhones() error {
	for i := range s.phones {
		l, err := dialPhone(s.proxy.sip, "127.0.0.1")
		if err != nil {
			return err
		}
		a := newAgent(fmt.Sprintf("phone%d", i), "UDP", l.conn.LocalAddr().String())
		a.attach(l)
		s.phones[i] = a
		if err := a.register(); err != nil {
			return err
		}
	}
	return nil
}

// setUp makes the calls between browsers.
func (s *swarm) setUp(out io.Writer) []*call {
	var calls []*call
	for i := 0; i < s.calls && 2*i+1 < len(s.browsers); i++ {
		c, err := s.browsers[2*i].dial(s.browsers[2*i+1].name, fmt.Sprintf("up-%d", i))
		if err != nil {
			fmt.Fprintf(out, "  call %d: %v\n", i, err)
			continue
		}
		calls = append(calls, c)
	}
	return calls
}

// hangUp ends calls and counts those that were still there.
func hangUp(calls []*call, out io.Writer) (kept int) {
	lost := map[string]int{}
	for _, c := range calls {
		if err := c.hangUp(); err != nil {
			lost[err.Error()]++
			continue
		}
		kept++
	}
	for text, n := range lost {
		fmt.Fprintf(out, "  %d × %s\n", n, text)
	}
	return kept
}

// traffic is the calls of the phones.
type traffic struct {
	mu           sync.Mutex
	made, failed int
	times        []time.Duration // INVITE to 200, with its challenge
	failures     []string
}

func (t *traffic) text() string {
	if len(t.times) == 0 {
		return ""
	}
	slices.Sort(t.times)
	n := len(t.times)
	text := fmt.Sprintf("; set up in median %v, 99 %% %v, longest %v", round(t.times[n/2]), round(t.times[n*99/100]), round(t.times[n-1]))
	if len(t.failures) > 0 {
		text += "\n  " + strings.Join(t.failures[:min(5, len(t.failures))], "\n  ")
	}
	return text
}

// keepCalling has one phone call the other until stop.
func (s *swarm) keepCalling(stop <-chan struct{}) *traffic {
	t := &traffic{}
	if s.rate <= 0 {
		<-stop
		return t
	}
	ticker := time.NewTicker(time.Duration(float64(time.Second) / s.rate))
	defer ticker.Stop()
	var running sync.WaitGroup
	for n := 0; ; n++ {
		select {
		case <-stop:
			running.Wait()
			return t
		case <-ticker.C:
		}
		running.Go(func() {
			began := time.Now()
			c, err := s.phones[0].dial("phone1", fmt.Sprintf("during-%d", n))
			took := time.Since(began)
			if err == nil {
				err = c.hangUp()
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			t.made++
			if err != nil {
				t.failed++
				t.failures = append(t.failures, err.Error())
				return
			}
			t.times = append(t.times, took)
		})
	}
}
