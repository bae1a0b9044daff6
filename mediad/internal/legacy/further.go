package legacy

import (
	"strconv"
	"sync"
	"time"
)

// maxFurther bounds how many calls with several medias are known. The medias of
// one that is not end by themselves when they are silent.
const maxFurther = 16384

// further knows which calls have more than one media. The medias of a call come
// one by one and in any order, so each further one is a call of its own.
type further struct {
	mu    sync.Mutex
	calls map[string]parts
}

// parts are the medias of a call: the highest index, and when it was noted.
type parts struct {
	highest int
	noted   time.Time
}

func newFurther() *further { return &further{calls: make(map[string]parts)} }

// callID names the call that holds a media. A blank cannot stand in a Call-ID.
func callID(id string, index int) string {
	if index <= 1 {
		return id
	}
	return id + " media " + strconv.Itoa(index)
}

func (f *further) note(id string, index int) {
	if index <= 1 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.calls[id]; !known && len(f.calls) >= maxFurther {
		f.forgetOldestLocked()
	}
	f.calls[id] = parts{max(f.calls[id].highest, index), time.Now()}
}

// forgetOldestLocked forgets the oldest of some calls.
func (f *further) forgetOldestLocked() {
	oldest, at, looked := "", time.Time{}, 0
	for id, p := range f.calls {
		if oldest == "" || p.noted.Before(at) {
			oldest, at = id, p.noted
		}
		if looked++; looked == 16 {
			break
		}
	}
	delete(f.calls, oldest)
}

// callIDs are the names of all calls that hold medias of one.
func (f *further) callIDs(id string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := []string{id}
	for index := 2; index <= f.calls[id].highest; index++ {
		ids = append(ids, callID(id, index))
	}
	return ids
}
