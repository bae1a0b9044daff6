package legacy

import (
	"sync"
	"time"
)

// Bounds of what is remembered.
const (
	keep       = 30 * time.Second // an answer is kept for one to two times that
	maxAnswers = 32768            // in each of two generations
	maxKept    = 256              // bytes of an answer that is kept
)

// answers are those to the commands of late, by cookie, so that a repetition
// does nothing twice.
type answers struct {
	now func() time.Time

	mu                sync.Mutex
	turned            time.Time
	current, previous map[string][]byte
}

func newAnswers(now func() time.Time) *answers {
	return &answers{now: now, turned: now(), current: make(map[string][]byte)}
}

func (a *answers) get(cookie string) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turnLocked()
	if answer, ok := a.current[cookie]; ok {
		return answer, true
	}
	answer, ok := a.previous[cookie]
	return answer, ok
}

func (a *answers) put(cookie string, answer []byte) {
	if len(answer) > maxKept {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.current) >= maxAnswers {
		a.previous, a.current, a.turned = a.current, make(map[string][]byte), a.now()
	}
	a.current[cookie] = answer
}

func (a *answers) turnLocked() {
	switch age := a.now().Sub(a.turned); {
	case age >= 2*keep:
		a.previous, a.current, a.turned = nil, make(map[string][]byte), a.now()
	case age >= keep:
		a.previous, a.current, a.turned = a.current, make(map[string][]byte), a.now()
	}
}
