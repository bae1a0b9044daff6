package settings

import (
	"fmt"
	"strings"
)

// parseCommandLine reads args as GLib does: --long, --long=value, --long
// value, -s, -s value, joined short switches. An unknown option is an error;
// words that are no options come back for a note, since rtpengine passes over
// them.
func parseCommandLine(args []string, known []option) (out []setting, stray []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		next := func() (string, bool) {
			if i+1 >= len(args) {
				return "", false
			}
			i++
			return args[i], true
		}
		var found []setting
		switch {
		case arg == "--":
			return out, append(stray, args[i+1:]...), nil
		case strings.HasPrefix(arg, "--"):
			found, err = parseLong(arg, known, next)
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			found, err = parseShort(arg, known, next)
		default:
			stray = append(stray, arg)
		}
		if err != nil {
			return nil, nil, err
		}
		out = append(out, found...)
	}
	return out, stray, nil
}

func parseLong(arg string, known []option, next func() (string, bool)) ([]setting, error) {
	name, value, hasValue := strings.Cut(arg[2:], "=")
	o := find(known, name)
	switch {
	case o == nil:
		return nil, fmt.Errorf("%s: unknown option --%s", sourceCommandLine, name)
	case o.isBool && !hasValue:
		value = "true"
	case o.isBool: // with "=": its value is read, as in the file
	case !hasValue:
		if value, hasValue = next(); !hasValue {
			return nil, fmt.Errorf("%s: --%s needs a value", sourceCommandLine, name)
		}
	}
	return []setting{{option: o, text: value, source: sourceCommandLine}}, nil
}

// parseShort reads -s, -s value, -svalue and -abc.
func parseShort(arg string, known []option, next func() (string, bool)) ([]setting, error) {
	var out []setting
	for j := 1; j < len(arg); j++ {
		o := findShort(known, arg[j])
		if o == nil {
			return nil, fmt.Errorf("%s: unknown option -%c", sourceCommandLine, arg[j])
		}
		if o.isBool {
			out = append(out, setting{option: o, text: "true", source: sourceCommandLine})
			continue
		}
		value := strings.TrimPrefix(arg[j+1:], "=")
		if value == "" {
			var ok bool
			if value, ok = next(); !ok {
				return nil, fmt.Errorf("%s: -%c needs a value", sourceCommandLine, arg[j])
			}
		}
		return append(out, setting{option: o, text: value, source: sourceCommandLine}), nil
	}
	return out, nil
}

func findShort(known []option, short byte) *option {
	for i := range known {
		if known[i].short == short {
			return &known[i]
		}
	}
	return nil
}

// Usage returns the text of --help.
func Usage() string {
	var b strings.Builder
	b.WriteString("Usage: mediad [OPTION…]\n\nOptions (names of rtpengine; see docs/mediad.md):\n")
	for _, o := range options() {
		if o.effect != effective {
			continue
		}
		line := "      --" + o.long
		if o.short != 0 {
			line = fmt.Sprintf("  -%c, --%s", o.short, o.long)
		}
		if !o.isBool {
			line += "=VALUE"
		}
		if o.isList {
			line += " (several)"
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Codecs returns the text of --codecs.
func Codecs() string {
	var b strings.Builder
	for _, name := range []string{
		"PCMA", "PCMU", "G723", "G722", "G729", "G729a", "speex", "GSM", "iLBC", "opus", "AMR", "AMR-WB", "telephone-event", "CN",
	} {
		fmt.Fprintf(&b, "%20s: passed through, not transcoded\n", name)
	}
	return b.String()
}
