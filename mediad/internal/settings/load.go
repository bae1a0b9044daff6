package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

const sourceCommandLine = "command line"

// Load reads the command line args (without the program's name) and the file
// it names, or else DefaultConfigFile if that exists. What the command line
// says replaces what the file says. Errors name the option, its place and the
// reason.
//
// With --version, --help or --codecs nothing but the command line is read.
func Load(args []string) (*Settings, error) {
	return load(args, DefaultConfigFile)
}

func load(args []string, defaultFile string) (*Settings, error) {
	known := options()
	given, stray, err := parseCommandLine(args, known)
	if err != nil {
		return nil, err
	}
	s := Defaults()
	for _, word := range stray {
		s.Notes = append(s.Notes, Note{Message: "not an option, ignored", Option: word, Source: sourceCommandLine})
	}
	if err := s.applyAll(slices.DeleteFunc(slices.Clone(given), func(g setting) bool { return !g.option.cli })); err != nil {
		return nil, err
	}
	if s.Process.ShowHelp || s.Process.ShowVersion || s.Process.ShowCodecs {
		return &s, nil
	}
	file, err := s.readFile(defaultFile)
	if err != nil {
		return nil, err
	}
	fromFile, err := s.fromFile(file, known)
	if err != nil {
		return nil, err
	}
	// A list on the command line replaces the whole list of the file.
	fromFile = slices.DeleteFunc(fromFile, func(f setting) bool {
		return slices.ContainsFunc(given, func(g setting) bool { return g.option.long == f.option.long })
	})
	given = slices.DeleteFunc(given, func(g setting) bool { return g.option.cli })
	if err := s.applyAll(append(fromFile, given...)); err != nil {
		return nil, err
	}
	if file != nil {
		if err := errors.Join(s.readInterfaces(file), s.readTemplates(file)); err != nil {
			return nil, err
		}
	}
	if err := s.validate(); err != nil {
		return nil, err
	}
	return &s, nil
}

// setting is an option with the text it was given.
type setting struct {
	option *option
	text   string
	source string // where it was given
}

func (s *Settings) applyAll(list []setting) error {
	for _, g := range list {
		if err := g.option.set(s, g.text); err != nil {
			return fmt.Errorf("%s: %s: %w", g.source, g.option.long, err)
		}
		if note := g.option.effect.note(); note != "" && !s.noted(g.option.long) && g.text != "false" && g.text != "0" {
			s.Notes = append(s.Notes, Note{Message: note, Option: g.option.long, Source: g.source})
		}
	}
	return nil
}

func (s *Settings) noted(name string) bool {
	return slices.ContainsFunc(s.Notes, func(n Note) bool { return n.Option == name })
}

// readFile reads the file that is named, or the default one if it exists; nil
// means that there is none to read.
func (s *Settings) readFile(defaultFile string) (*iniFile, error) {
	name := s.Process.ConfigFile
	switch name {
	case "none":
		return nil, nil
	case "":
		name = defaultFile
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && s.Process.ConfigFile == "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("config-file: %w", err)
	}
	s.Process.ConfigFile = name
	return parseINI(name, string(text))
}

// fromFile returns the settings in the configured section of the file.
func (s *Settings) fromFile(file *iniFile, known []option) ([]setting, error) {
	if file == nil {
		return nil, nil
	}
	section := file.section(s.Process.ConfigSection)
	if section == nil {
		return nil, fmt.Errorf("%s: there is no section [%s]", file.name, s.Process.ConfigSection)
	}
	var out []setting
	for _, e := range section.entries {
		source := fmt.Sprintf("%s:%d", file.name, e.line)
		o := find(known, e.key)
		if o == nil || o.cli {
			s.Notes = append(s.Notes, Note{Message: "unknown option ignored", Option: e.key, Source: source})
			continue
		}
		value, err := unescape(e.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", source, e.key, err)
		}
		values := []string{value}
		if o.isList {
			values = splitList(value)
		}
		for _, v := range values {
			out = append(out, setting{option: o, text: v, source: source})
		}
	}
	return out, nil
}

func find(known []option, long string) *option {
	for i := range known {
		if known[i].long == long {
			return &known[i]
		}
	}
	return nil
}
