//go:build integration

package dropin

import (
	"fmt"
	"time"
)

// interfaceCalls are held at each way to name interfaces.
var interfaceCalls = append(directions(), []conversation{
	{"interface-default", func(t *talk) {
		for range 3 {
			t.offer(bare4)
			t.answer(bareAnswer4)
			t.again()
		}
	}},
	{"interface-keys", func(t *talk) {
		for _, k := range []keys{{"flags": []string{"internal", "external"}}, {"direction": "foo,bar"}, {"direction": "bar"}} {
			t.ask("offer", keys{"from-tag": t.from, "sdp": crlf(bare4)}.with(k))
			t.ask("answer", keys{"from-tag": t.from, "to-tag": t.to, "sdp": crlf(bareAnswer4)})
			t.again()
		}
	}},
	{"interface-family", func(t *talk) {
		for _, k := range []keys{{"direction": []string{"foo", "bar"}, "address-family": "IP6"}, {"direction": []string{"bar", "foo"}, "address-family": "IP6"}, {"direction": []string{"bar", "foo"}, "address-family": "IP4"}} {
			t.ask("offer", keys{"from-tag": t.from, "sdp": crlf(bare4)}.with(k))
			t.ask("answer", keys{"from-tag": t.from, "to-tag": t.to, "sdp": crlf(answer6)})
			t.again()
			t.ask("offer", keys{"from-tag": t.from, "sdp": crlf(offer6)}.with(k))
			t.ask("answer", keys{"from-tag": t.from, "to-tag": t.to, "sdp": crlf(answer4)})
			t.again()
		}
	}},
	{"interface-ice", func(t *talk) {
		for _, direction := range [][]string{{"foo", "bar"}, {"bar", "foo"}} {
			t.offer(bare4, keys{"direction": direction, "ICE": "force"})
			t.answer(ice4("Efgh"), keys{"ICE": "force"})
			t.again()
			t.offer(ice4("Efgh"), keys{"direction": direction})
			t.answer(bareAnswer4)
			t.again()
		}
	}},
	{"interface-packets", func(t *talk) {
		a, b := t.phones()
		towardsB, towardsA := t.offer(bare4, keys{"direction": []string{"bar", "foo"}, "media-address": ours4}), t.answer(bareAnswer4)
		_ = towardsB
		if towardsA.rtp(0).Addr().String() == second4 {
			stream(a, towardsA.rtp(0), b, 0, 0, 2, 0x1234)
		}
	}},
}...)

// directions are calls between two interfaces.
func directions() (list []conversation) {
	for _, direction := range [][]string{
		{"foo", "bar"}, {"bar", "foo"}, {"foo", "foo"}, {"bar", "bar"}, {"alias", "foo"}, {"foo"}, {"none", "bar"}, {"foo", "none"}, {"foo:a", "foo:b"}, {"round-robin-calls", "round-robin-calls"}, {"external", "internal"}, {},
	} {
		list = append(list, conversation{fmt.Sprint("direction-", direction), func(t *talk) {
			reply := t.ask("offer", keys{"from-tag": t.from, "direction": direction, "sdp": crlf(bare4)})
			if reply["result"] == "ok" {
				t.answer(bareAnswer4)
				t.offer(bare4, keys{"to-tag": t.to})
				t.answer(bareAnswer4, keys{"direction": direction})
			}
		}})
	}
	return list
}

// groupCalls show that the members of a group take turns. (Whose turn it is after
// a command that needs none of them is nobody's promise.)
var groupCalls = []conversation{
	{"group-default", func(t *talk) {
		for range 4 {
			t.offer(bare4)
			t.answer(bareAnswer4)
			t.again()
		}
	}},
	{"group-direction", func(t *talk) {
		for range 4 {
			t.offer(bare4, keys{"direction": []string{"foo", "bar"}, "address-family": "IP6"})
			t.answer(answer6, keys{"address-family": "IP4"})
			t.again()
		}
	}},
	{"group-packets", func(t *talk) {
		a, b := t.phones()
		for range 3 {
			towardsB, towardsA := t.offer(offer4), t.answer(answer4)
			talkBothWays(a, b, towardsB, towardsA)
			t.again()
		}
	}},
}

// portCalls use up the four pairs of ports that each address has.
var portCalls = []conversation{
	{"ports-run-out", func(t *talk) {
		for i := range 6 {
			t.ask("offer", keys{"call-id": fmt.Sprintf("call-%d", i), "from-tag": "a", "sdp": crlf(bare4)})
		}
		for i := range 6 {
			t.ask("delete", keys{"call-id": fmt.Sprintf("call-%d", i), "delete-delay": 0})
		}
	}},
}

// legacy is the protocol of listen-udp.
var legacy = []conversation{
	{"legacy-udp", func(t *talk) {
		conn, err := t.daemon.dial(ours4 + ":2222")
		if err != nil {
			t.stop("%v", err)
		}
		defer conn.Close()
		for i, line := range []string{
			"V", "VF 20040107", "VF 20050322", "VF 20990101", "D unknown from to", "Q unknown from to", "L unknown 198.51.100.3 2002 from;1 to;1",
			"U legacy-call 198.51.100.1 2000 from;1", "L legacy-call 198.51.100.3 2002 from;1 to;1", "D legacy-call from to", "X", "nonsense nonsense",
		} {
			_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
			fmt.Fprintf(conn, "%d-%d %s", time.Now().UnixNano(), i, line)
			buffer := make([]byte, 2000)
			n, err := conn.Read(buffer)
			if err != nil {
				t.record("%s: no reply", line)
				continue
			}
			t.record("%s: %s", line, t.legacyReply(string(buffer[:n])))
		}
	}},
}
