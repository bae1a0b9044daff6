package conformance

import (
	"maps"
	"slices"
	"strings"
)

// shrink leaves out whatever can be left out of a scenario so that fails stays
// true, and returns what remains.
func shrink(s Scenario, fails func(Scenario) bool) Scenario {
	const most = 400 // tries, so that one case does not hold up a run
	tries := 0
	for changed := true; changed; {
		changed = false
		for i := 0; ; i++ {
			smaller, ok := without(s, i)
			if !ok {
				break
			}
			if tries++; tries > most {
				return s
			}
			if fails(smaller) {
				s, changed = smaller, true
				i--
			}
		}
	}
	return s
}

// without returns s without its i-th part: a step, a key, a member of a list
// or dictionary, a media section, a line of an SDP or a format; big parts come
// first. ok is false if there are not so many.
func without(s Scenario, i int) (Scenario, bool) {
	for at := len(s.Steps) - 1; at >= 0; at-- {
		end := at + 1
		if s.Steps[at].Command == "answer" && end < len(s.Steps) {
			continue // only with its offer: a re-offer that waits for an answer is a case of its own
		}
		if s.Steps[at].Command == "offer" && end < len(s.Steps) && s.Steps[end].Command == "answer" {
			end++
		}
		if end-at == len(s.Steps) {
			continue // nothing would remain
		}
		if i == 0 {
			s.Steps = slices.Delete(slices.Clone(s.Steps), at, end)
			return s, true
		}
		i--
	}
	for at := range s.Steps {
		step := s.Steps[at]
		keys, rest := withoutMember(step.Keys, i)
		i = rest
		if keys != nil {
			step.Keys = keys.(map[string]any)
		} else if step.Body, i = withoutLine(step.Body, i); i >= 0 {
			continue
		}
		s.Steps = slices.Clone(s.Steps)
		s.Steps[at] = step
		return s, true
	}
	return s, false
}

// withoutMember returns v without its i-th member, counted through all depths;
// or nil and how many are still to be skipped.
func withoutMember(v any, i int) (any, int) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out := maps.Clone(v)
			if i == 0 {
				delete(out, key)
				return out, -1
			}
			inner, rest := withoutMember(v[key], i-1)
			if i = rest; inner != nil {
				out[key] = inner
				return out, -1
			}
		}
	case []any:
		for at := range v {
			if i == 0 && len(v) > 1 {
				return slices.Delete(slices.Clone(v), at, at+1), -1
			}
			i = max(0, i-1)
		}
	}
	return nil, i
}

// withoutLine does the same with the sections, lines and formats of an SDP; the
// number is -1 if something was left out.
func withoutLine(body []string, i int) ([]string, int) {
	for at := len(body) - 1; at >= 0; at-- {
		if !strings.HasPrefix(body[at], "m=") {
			continue
		}
		if i == 0 {
			end := at + 1
			for end < len(body) && !strings.HasPrefix(body[end], "m=") {
				end++
			}
			return slices.Delete(slices.Clone(body), at, end), -1
		}
		i--
	}
	for at := range body {
		if len(body[at]) > 1 && strings.Contains("vostmc", body[at][:1]) {
			continue // an SDP stays one
		}
		if i == 0 {
			return slices.Delete(slices.Clone(body), at, at+1), -1
		}
		i--
	}
	for at, line := range body {
		words := strings.Split(line, " ")
		if !strings.HasPrefix(line, "m=") || len(words) < 5 {
			continue
		}
		for w := 3; w < len(words); w++ {
			if i == 0 {
				out := slices.Clone(body)
				out[at] = strings.Join(slices.Delete(slices.Clone(words), w, w+1), " ")
				return out, -1
			}
			i--
		}
	}
	return body, i
}
