//go:build integration

package main

import (
	"strings"
	"testing"
	"time"
)

// A small storm: all come back, and no call that is being made fails. The numbers of a large one are for `go run`.
func TestStorm(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	r, err := run(options{
		connections: 300, sources: 30, calls: 10, rate: 10, within: time.Second, ramp: 2 * time.Second, key: "ecdsa", resume: true,
		settle: 100 * time.Millisecond,
	}, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if r.registered != 300 || r.back != 300 || r.callsUp != 10 || r.callsKept != 10 || r.callsFailed != 0 || r.callsMade == 0 {
		t.Errorf("%+v", r)
	}
	if r.bytesEach > 256<<10 {
		t.Errorf("%d bytes a connection", r.bytesEach)
	}
}
