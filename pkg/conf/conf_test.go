package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type sample struct {
	Log struct {
		Level string `yaml:"level" env:"SAMPLE_LOG_LEVEL"`
	} `yaml:"log"`
	Wait  Duration        `yaml:"wait" env:"SAMPLE_WAIT"`
	Limit Size            `yaml:"limit"`
	Items []item          `yaml:"items"`
	Named map[string]item `yaml:"named"`
	On    *bool           `yaml:"on"`
	To    List            `yaml:"to"`
}

type item struct {
	Address Endpoint `yaml:"address"`
	From    Network  `yaml:"from"`
	Weight  int      `yaml:"weight"`
	Key     Secret   `yaml:"key"`
}

func TestDecode(t *testing.T) {
	s := sample{Wait: Duration(time.Second)}
	s.Log.Level = "info"
	doc := Decode("a.yaml", []byte(`
limit: 64KiB
on: false
to: a
items:
  - address: "[::1]:5060"
    from: 10.0.0.0/8
    weight: 3
    key: hush
named:
  one: {address: "host:1"}
`), &s)
	require.NoError(t, doc.Err())
	require.Equal(t, Size(65536), s.Limit)
	require.Equal(t, Duration(time.Second), s.Wait, "default kept")
	require.Equal(t, Endpoint{"::1", 5060}, s.Items[0].Address)
	require.True(t, s.Items[0].From.Contains(netip.MustParseAddr("::ffff:10.1.2.3")))
	require.Equal(t, uint16(1), s.Named["one"].Address.Port)
	require.False(t, *s.On)
	require.Equal(t, List{"a"}, s.To)
	require.NoError(t, Decode("a.yaml", []byte("to: [a, b]"), &s).Err())
	require.Equal(t, List{"a", "b"}, s.To)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", s, s, s), "hush")
	require.Equal(t, 7, doc.Line("items[0].from"))
	require.Equal(t, 6, doc.Line("items[0].nothing"), "nearest parent")
}

func TestAllFaultsAreListed(t *testing.T) {
	var s sample
	doc := Decode("b.yaml", []byte(`log:
  levle: debug
wait: 5
limit: much
items:
  - address: nowhere
    weight: x
  - adress: a:1
items: []
on: maybe
`), &s)
	var faults Faults
	require.True(t, errors.As(doc.Err(), &faults))
	require.Equal(t, strings.TrimSpace(`
b.yaml:2: log.levle: unknown key; did you mean level?
b.yaml:3: wait: "5" is not a time span; write for example 500ms, 30s or 1h
b.yaml:4: limit: "much" is not a size; write for example 4096, 64KiB or 1MiB
b.yaml:6: items[0].address: "nowhere" is not host:port
b.yaml:7: items[0].weight: "x" is not a whole number
b.yaml:8: items[1].adress: unknown key; did you mean address?
b.yaml:9: items: given twice
b.yaml:10: on: "maybe" is neither true nor false
`), faults.Error())
}

func TestNotYAML(t *testing.T) {
	var s sample
	require.ErrorContains(t, Decode("c.yaml", []byte("a: [1\nb: 2"), &s).Err(), "not YAML")
	require.ErrorContains(t, Decode("c.yaml", []byte("wait: 1s\n---\nwait: 2s"), &s).Err(), "second document")
	require.ErrorContains(t, Decode("c.yaml", []byte("log: &x\n  level: a\nitems: *x"), &s).Err(), "aliases")
	require.ErrorContains(t, Decode("c.yaml", []byte("- 1"), &s).Err(), "must be a mapping")
	require.NoError(t, Decode("c.yaml", nil, &s).Err())
}

func TestEnvironmentOverrides(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.yaml")
	require.NoError(t, os.WriteFile(path, []byte("log: {level: info}\nwait: 1s\n"), 0o600))
	t.Setenv("SAMPLE_LOG_LEVEL", "debug")
	t.Setenv("SAMPLE_WAIT", "soon")
	var s sample
	doc, err := Load(path, &s)
	require.NoError(t, err)
	require.Equal(t, "debug", s.Log.Level)
	require.EqualError(t, doc.Err(),
		`environment: SAMPLE_WAIT: "soon" is not a time span; write for example 500ms, 30s or 1h`)
	_, err = Load(path+".missing", &s)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestKeys(t *testing.T) {
	require.Equal(t, []string{
		"items[].address", "items[].from", "items[].key", "items[].weight", "limit", "log.level",
		"named.<name>.address", "named.<name>.from", "named.<name>.key", "named.<name>.weight", "on", "to[]", "wait",
	}, Keys(sample{}))
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"log: {level: a}", "items: [{address: 'a:1'}]", "named: {x: {from: ::/0}}", "? [a]: b", "a: &a [*a]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		if err := Decode("f.yaml", data, &s).Err(); err != nil {
			_ = err.Error()
		}
	})
}
