//go:build integration

package dropin

import (
	"strings"
	"testing"
)

// plain is the start that most operators have; the other lists name theirs.
var plain = []string{"--config-file=none", "-t", "-1", "-i", ours4, "-i", ours6, "-n", "2223", "-f", "-L", "7", "-E"}

func TestPlainStart(t *testing.T) {
	compare(t, start{options: plain}, plainCalls, forks, commands, secureCalls, codecCalls, webrtcCalls, browserMedia, negotiations(), eachCodec(), eachFlag(), eachKey())
}

// TestMediaFlows is apart since it waits for learning to end.
func TestMediaFlows(t *testing.T) {
	compare(t, start{options: plain}, mediaFlows)
}

// TestAllListeners starts with what else a script of the original gives.
func TestAllListeners(t *testing.T) {
	options := append([]string{"-c", "12345", "-u", "2222", "--silence-detect=1"}, plain...)
	compare(t, start{options: options}, plainCalls[:3], legacy)
}

func named(interfaces ...string) []string {
	options := []string{"--config-file=none", "-t", "-1", "-n", "2223", "-f", "-L", "7", "-E"}
	for _, i := range interfaces {
		options = append(options, "-i", i)
	}
	return options
}

func TestNamedInterfaces(t *testing.T) {
	compare(t, start{options: named("foo/"+ours4, "foo/"+ours6, "bar/"+second4, "bar/"+second6)}, interfaceCalls)
}

// TestInterfacesInFile names the same interfaces in a configuration file. (With
// blanks around the semicolons, 10.5 takes them for a part of the names.)
func TestInterfacesInFile(t *testing.T) {
	compare(t, start{file: file("foo/" + ours4 + ";foo/" + ours6 + ";bar/" + second4 + ";bar/" + second6)}, interfaceCalls)
}

// TestBlanksInFile has the blanks that newer versions pass over and 10.5 does not
// start with.
func TestBlanksInFile(t *testing.T) {
	compareStarts(t, start{options: plain}, start{file: file(ours4 + " ;  " + ours6)}, plainCalls[:7], interfaceCalls)
}

// TestInterfaceSections has the same interfaces in sections, which 10.5 does not
// know.
func TestInterfaceSections(t *testing.T) {
	compareStarts(t, start{options: named("foo/"+ours4, "foo/"+ours6, "bar/"+second4, "bar/"+second6)}, start{file: `[rtpengine]
table = -1
interfaces-config = intf
listen-ng = 2223
foreground = true
log-stderr = true
[intf-foo]
address = ` + ours4 + ` ; ` + ours6 + `
[intf-second]
name = bar
address = ` + second4 + `
[intf-third]
name = bar
address = ` + second6 + `
`}, interfaceCalls)
}

// file is a configuration file with these interfaces.
func file(interfaces string) string {
	return "# a comment\n[rtpengine]\ntable = -1\ninterface = " + interfaces + "\nlisten-ng = 2223\nforeground = true\nlog-stderr=true\n\nlog-level = 7\n" +
		"[rtpengine-testing]\ninterface = 192.0.2.1\n"
}

func TestGroupsOfInterfaces(t *testing.T) {
	compare(t, start{options: named("foo:a/"+ours4, "foo:b/"+second4, "bar:x/"+ours6, "bar:y/"+second6)}, groupCalls)
}

func TestAdvertisedAddress(t *testing.T) {
	compare(t, start{options: named("foo/"+ours4+"!192.0.2.77", "foo/"+ours6, "bar/"+second4, "bar/"+second6+"!2001:db8::77")}, interfaceCalls)
}

func TestOneFamily(t *testing.T) {
	compare(t, start{options: named(ours4)}, interfaceCalls)
}

func TestPorts(t *testing.T) {
	compare(t, start{options: append(named(ours4, ours6), "-m", "30000", "-M", "30007", "--delete-delay=0")}, portCalls)
}

// compare holds all conversations with rtpengine and with mediad, and shows where
// what came back differs.
func compare(t *testing.T, s start, lists ...[]conversation) {
	compareStarts(t, s, s, lists...)
}

func compareStarts(t *testing.T, theirs, ours start, lists ...[]conversation) {
	t.Helper()
	t.Parallel()
	program, err := mediad()
	if err != nil {
		t.Fatal(err)
	}
	reference, target := startOne(t, "rtpengine", "rtpengine", theirs), startOne(t, "mediad", program, ours)
	for _, list := range lists {
		for _, c := range list {
			t.Run(c.name, func(t *testing.T) {
				theirs, heard, theirError := hold(reference, c, nil)
				ours, _, ourError := hold(target, c, append([]bool{}, heard...))
				if theirError != nil {
					t.Errorf("%s: %v", reference.name, theirError)
				}
				if ourError != nil {
					t.Errorf("%s: %v", target.name, ourError)
				}
				if d := remaining(c.name, difference(theirs, ours)); d != nil {
					t.Errorf("rtpengine (-) and mediad (+) differ:\n%s", strings.Join(excerpt(d), "\n"))
				}
			})
		}
	}
}
