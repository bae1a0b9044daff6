package ngserver

import "sync"

// maxWaiters bounds how many repetitions wait for one running command.
const maxWaiters = 8

// cacheState is what is known about a cookie.
type cacheState uint8

const (
	cacheNew     cacheState = iota // run the command
	cacheRunning                   // it runs; the peer was noted and gets its reply
	cacheDone                      // here is the reply
	cacheFull                      // it runs and too many wait already
)

// cache holds the replies of the last one to two turns by cookie, and who waits
// for the commands that still run. The cookie alone is the key, as clients may
// repeat a request from another socket.
type cache struct {
	mu       sync.Mutex
	running  map[string][]recipient // bounded by the dispatcher's queue
	current  map[string][]byte
	previous map[string][]byte
	bytes    int // of current
	// Half of the limits: both generations together stay below the whole.
	maxEntries, maxBytes int
}

func newCache(maxEntries, maxBytes int) *cache {
	return &cache{
		running:    make(map[string][]recipient),
		current:    make(map[string][]byte),
		maxEntries: max(maxEntries/2, 1),
		maxBytes:   max(maxBytes/2, 1),
	}
}

// begin looks a cookie up and, if it is new, marks it as running for peer.
func (c *cache) begin(cookie string, peer recipient) (cacheState, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if waiters, ok := c.running[cookie]; ok {
		for _, w := range waiters {
			if w == peer {
				return cacheRunning, nil // one reply answers all repetitions
			}
		}
		if len(waiters) >= maxWaiters {
			return cacheFull, nil
		}
		c.running[cookie] = append(waiters, peer)
		return cacheRunning, nil
	}
	if reply, ok := c.current[cookie]; ok {
		return cacheDone, reply
	}
	if reply, ok := c.previous[cookie]; ok {
		return cacheDone, reply
	}
	c.running[cookie] = []recipient{peer}
	return cacheNew, nil
}

// complete stores the reply and returns who waits for it.
func (c *cache) complete(cookie string, reply []byte) []recipient {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiters := c.running[cookie]
	delete(c.running, cookie)
	size := len(cookie) + len(reply)
	if len(c.current) >= c.maxEntries || c.bytes+size > c.maxBytes {
		c.swap()
	}
	if size <= c.maxBytes {
		c.current[cookie] = reply
		c.bytes += size
	}
	return waiters
}

// abandon forgets a cookie whose command did not run, so that a repetition
// runs it.
func (c *cache) abandon(cookie string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, cookie)
}

// turn drops the older generation.
func (c *cache) turn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.swap()
}

func (c *cache) swap() {
	c.previous, c.current, c.bytes = c.current, make(map[string][]byte), 0
}
