package loop

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/tandem-sbc/tandem/mediad/internal/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a loop that waits for its queue only. waits counts the waits that ended by the eventfd.
func start(t *testing.T) (q *Queue, ended chan struct{}, waits *int) {
	t.Helper()
	q, err := NewQueue()
	require.NoError(t, err)
	ended, waits = make(chan struct{}), new(int)
	go func() {
		defer close(ended)
		fds := []unix.PollFd{{Fd: int32(q.FD()), Events: unix.POLLIN}}
		for {
			timeout := 0
			if q.Sleep() {
				timeout = 10000
			}
			n, err := unix.Poll(fds, timeout)
			q.Awake()
			if err == nil && n == 1 {
				*waits++
				q.Clear()
			}
			if q.Run() {
				return
			}
		}
	}()
	return q, ended, waits
}

func TestWorkRunsOnTheLoopAlone(t *testing.T) {
	q, ended, _ := start(t)
	const callers, each = 8, 500
	total, wrong := 0, errors.New("the seventh")
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for i := range each {
				err := q.Do(func() error {
					total++ // the race detector tells if this is not the loop's alone
					if i == 7 {
						return wrong
					}
					return nil
				})
				if i == 7 {
					require.ErrorIs(t, err, wrong)
				} else {
					require.NoError(t, err)
				}
			}
		})
	}
	group.Wait()
	q.Stop()
	<-ended
	require.Equal(t, callers*each, total)
	require.ErrorIs(t, q.Do(func() error { return nil }), engine.ErrClosed)
	require.NoError(t, q.Close())
}

// TestSleeperIsWoken: work that comes during a long wait does not wait for its end.
func TestSleeperIsWoken(t *testing.T) {
	q, ended, waits := start(t)
	for range 20 {
		time.Sleep(2 * time.Millisecond)
		begin := time.Now()
		require.NoError(t, q.Do(func() error { return nil }))
		require.Less(t, time.Since(begin), 5*time.Second)
	}
	q.Stop()
	<-ended
	require.Positive(t, *waits)
	require.NoError(t, q.Close())
}

// TestNobodyWritesToALoopThatIsAwake: the eventfd is for sleepers.
func TestNobodyWritesToALoopThatIsAwake(t *testing.T) {
	q, err := NewQueue()
	require.NoError(t, err)
	defer q.Close()
	readable := func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(q.FD()), Events: unix.POLLIN}}, 0)
		require.NoError(t, err)
		return n == 1
	}
	done := make(chan error)
	do := func() { go func() { done <- q.Do(func() error { return nil }) }() }
	finish := func() {
		for !q.pending.Load() {
			time.Sleep(time.Millisecond)
		}
		require.False(t, q.Run())
		require.NoError(t, <-done)
	}
	require.True(t, q.Sleep())
	q.Awake()
	do()
	finish()
	require.False(t, readable())
	require.True(t, q.Sleep())
	do()
	finish()
	require.True(t, readable())
	q.Awake()
	q.Clear()
	require.False(t, readable())
	do()
	for !q.pending.Load() {
		time.Sleep(time.Millisecond)
	}
	require.False(t, q.Sleep(), "there is work")
	finish()
}
