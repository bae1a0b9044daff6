package admin

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Metric is one family in the exposition format of Prometheus.
type Metric struct {
	Name, Help string
	Counter    bool // else a gauge
	Samples    []Sample
}

// Sample is a value with its labels, as pairs of name and value.
type Sample struct {
	Labels []string
	Value  float64
}

// Value is a metric with one value and no labels.
func Value(name, help string, counter bool, v float64) Metric {
	return Metric{Name: name, Help: help, Counter: counter, Samples: []Sample{{Value: v}}}
}

// WriteMetrics writes them in the order of their names.
func WriteMetrics(w io.Writer, metrics []Metric) {
	b := bufio.NewWriter(w)
	defer b.Flush()
	sorted := slices.SortedFunc(slices.Values(metrics), func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	for _, m := range sorted {
		kind := "gauge"
		if m.Counter {
			kind = "counter"
		}
		_, _ = b.WriteString("# HELP " + m.Name + " " + m.Help + "\n# TYPE " + m.Name + " " + kind + "\n")
		for _, s := range m.Samples {
			_, _ = b.WriteString(m.Name)
			for i := 0; i+1 < len(s.Labels); i += 2 {
				separator := ","
				if i == 0 {
					separator = "{"
				}
				_, _ = b.WriteString(separator + s.Labels[i] + `="` + escape.Replace(s.Labels[i+1]) + `"`)
			}
			if len(s.Labels) > 0 {
				_, _ = b.WriteString("}")
			}
			_, _ = b.WriteString(" " + strconv.FormatFloat(s.Value, 'g', -1, 64) + "\n")
		}
	}
}
