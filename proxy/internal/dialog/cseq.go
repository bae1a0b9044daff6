package dialog

import (
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/tandem-sbc/tandem/proxy/internal/request"
)

// shift says that numbers above Above go out higher by By: requests made here stand between.
type shift struct{ above, by uint32 }

// maxShifts bounds those that a leg remembers; older ones matter for late repetitions of ACK alone.
const maxShifts = 4

// next is the number of a request made here in the name of the leg (RFC 3261 §12.2.1.1). Its own later requests move up.
func (l *Leg) next() uint32 {
	l.Inserted += 1 + l.jump
	l.jump = 0
	l.shifts = append(l.shifts, shift{l.CSeq, l.Inserted})
	if len(l.shifts) > maxShifts {
		l.shifts = l.shifts[1:]
	}
	return l.CSeq + l.Inserted
}

// outward is the number under which the leg's own number goes to the other side.
func (l *Leg) outward(seq uint32) uint32 {
	by := uint32(0)
	if len(l.shifts) == 0 {
		by = l.Inserted // from a record: all that comes is new
	}
	for _, s := range l.shifts {
		if seq > s.above {
			by = s.by
		}
	}
	return seq + by
}

// renumber gives a request of the leg its outward number, in RAck too (RFC 3262 §7.2). The lock is held.
func (l *Leg) renumber(msg *sip.Request) {
	seq, method := request.CSeq(msg)
	if out := l.outward(seq); out != seq {
		msg.ReplaceHeader(&sip.CSeqHeader{SeqNo: out, MethodName: method})
	}
	var rseq, acked uint32
	var of string
	if n, _ := fmt.Sscan(request.Header(msg, "RAck"), &rseq, &acked, &of); n == 3 {
		if out := l.outward(acked); out != acked {
			msg.ReplaceHeader(sip.NewHeader("RAck", strings.Join([]string{fmt.Sprint(rseq), fmt.Sprint(out), of}, " ")))
		}
	}
}

// challenged takes note that a request of the leg went out again with credentials, by more requests than one. The lock is held.
func (l *Leg) challenged(seq, more uint32) {
	l.Inserted += more
	l.shifts = append(l.shifts, shift{seq - 1, l.Inserted})
	if len(l.shifts) > maxShifts {
		l.shifts = l.shifts[1:]
	}
}

// number gives a response the number that its request came with.
func number(res *sip.Response, original *sip.Request) {
	seq, method := request.CSeq(original)
	if got, _ := request.CSeq(res); got != seq {
		res.ReplaceHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	}
}
