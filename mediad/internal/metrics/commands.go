package metrics

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	ng "github.com/tandem-sbc/tandem/ng-protocol"
)

// maxProxies bounds how many clients are counted singly; those above are
// counted together under the unset address.
const maxProxies = 256

// counted is a command that has counters. Key stands in JSON, title in tables.
type counted struct {
	command    ng.Command
	key, title string
}

// countedCommands lists them in rtpengine's order. Other commands are counted
// only when they fail.
func countedCommands() []counted {
	return []counted{
		{ng.CommandPing, "ping", "Ping"},
		{ng.CommandOffer, "offer", "Offer"},
		{ng.CommandAnswer, "answer", "Answer"},
		{ng.CommandDelete, "delete", "Delete"},
		{ng.CommandQuery, "query", "Query"},
		{ng.CommandList, "list", "List"},
		{ng.CommandStartRecording, "startrec", "StartRec"},
		{ng.CommandStopRecording, "stoprec", "StopRec"},
		{ng.CommandStartForwarding, "startfwd", "StartFwd"},
		{ng.CommandStopForwarding, "stopfwd", "StopFwd"},
		{ng.CommandBlockDTMF, "blkdtmf", "BlkDTMF"},
		{ng.CommandUnblockDTMF, "unblkdtmf", "UnblkDTMF"},
		{ng.CommandBlockMedia, "blkmedia", "BlkMedia"},
		{ng.CommandUnblockMedia, "unblkmedia", "UnblkMedia"},
		{ng.CommandPlayMedia, "playmedia", "PlayMedia"},
		{ng.CommandStopMedia, "stopmedia", "StopMedia"},
		{ng.CommandPlayDTMF, "playdtmf", "PlayDTMF"},
		{ng.CommandStatistics, "stats", "Stats"},
		{ng.CommandSilenceMedia, "slnmedia", "SlnMedia"},
		{ng.CommandUnsilenceMedia, "unslnmedia", "UnslnMedia"},
		{ng.CommandPublish, "pub", "Pub"},
		{ng.CommandSubscribeRequest, "subreq", "SubReq"},
		{ng.CommandSubscribeAnswer, "subans", "SubAns"},
		{ng.CommandUnsubscribe, "unsub", "Unsub"},
	}
}

// Commands counts the commands of each client. The zero value is not usable.
type Commands struct {
	index map[ng.Command]int // read-only

	mu      sync.Mutex
	proxies map[netip.Addr]*Proxy
	spans   []span // of all clients, for the interval that goes on
}

// Proxy is what one client has asked for. Counts and Took are in the order of
// rtpengine's commands.
type Proxy struct {
	Addr   netip.Addr // unset: several that are not counted singly
	Counts []uint64
	Took   []time.Duration
	Errors uint64
}

// NewCommands returns counters that are 0.
func NewCommands() *Commands {
	c := &Commands{index: make(map[ng.Command]int), proxies: make(map[netip.Addr]*Proxy)}
	for i, counted := range countedCommands() {
		c.index[counted.command] = i
	}
	c.spans = make([]span, len(c.index))
	return c
}

// Count counts a command that was executed for a client within took.
func (c *Commands) Count(client netip.Addr, command ng.Command, took time.Duration, failed bool) {
	i, counted := c.index[command]
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.proxyLocked(client)
	if counted {
		p.Counts[i]++
		p.Took[i] += took
		c.spans[i].add(took)
	}
	if failed {
		p.Errors++
	}
}

func (c *Commands) proxyLocked(client netip.Addr) *Proxy {
	if p := c.proxies[client]; p != nil {
		return p
	}
	if len(c.proxies) >= maxProxies {
		client = netip.Addr{}
		if p := c.proxies[client]; p != nil {
			return p
		}
	}
	p := &Proxy{Addr: client, Counts: make([]uint64, len(c.index)), Took: make([]time.Duration, len(c.index))}
	c.proxies[client] = p
	return p
}

// Total is how often all clients together have asked for a command, and how
// many commands of any kind have failed.
func (c *Commands) Total(command ng.Command) (count, failed uint64) {
	i, counted := c.index[command]
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.proxies {
		failed += p.Errors
		if counted {
			count += p.Counts[i]
		}
	}
	return count, failed
}

// proxiesSorted returns a copy of all counters, by address.
func (c *Commands) proxiesSorted() []Proxy {
	c.mu.Lock()
	all := make([]Proxy, 0, len(c.proxies))
	for _, p := range c.proxies {
		q := *p
		q.Counts, q.Took = slices.Clone(p.Counts), slices.Clone(p.Took)
		all = append(all, q)
	}
	c.mu.Unlock()
	slices.SortFunc(all, func(a, b Proxy) int { return a.Addr.Compare(b.Addr) })
	return all
}

// name is how rtpengine writes a client.
func (p *Proxy) name() string {
	if !p.Addr.IsValid() {
		return "others"
	}
	return p.Addr.String()
}
