package ngclient

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync/atomic"
)

// cookies makes cookies that no other client makes: daemons answer a cookie
// they have seen from their cache, whoever sent it.
type cookies struct {
	prefix string
	count  atomic.Uint64
}

func (c *cookies) seed() error {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	c.prefix = hex.EncodeToString(b[:]) + "_"
	return nil
}

func (c *cookies) next() string { return c.prefix + strconv.FormatUint(c.count.Add(1), 36) }
