package settings

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// readTemplates takes the templates, if their section is named: a name and the
// flags it stands for, in the language of rtpp-flags.
func (s *Settings) readTemplates(f *iniFile) error {
	name := s.Control.TemplatesSection
	if name == "" {
		return nil
	}
	section := f.section(name)
	if section == nil {
		return fmt.Errorf("%s: templates: there is no section [%s]", f.name, name)
	}
	s.Control.Templates = make(map[string]string, len(section.entries))
	for _, e := range section.entries {
		value, err := unescape(e.value)
		if err != nil {
			return fmt.Errorf("%s:%d: %s: %w", f.name, e.line, e.key, err)
		}
		s.Control.Templates[e.key] = value
	}
	return nil
}

// interfaceSection is what a section [prefix-NAME] says.
type interfaceSection struct {
	name, address, advertised, alias string
	low, high                        int
	exclude                          []PortRange
}

// readInterfaces takes the interfaces from their sections, if a prefix is set:
// [prefix-NAME] each describes one.
func (s *Settings) readInterfaces(f *iniFile) error {
	prefix := s.Network.InterfacesPrefix
	if prefix == "" {
		return nil
	}
	before := len(s.Network.Interfaces)
	for _, section := range f.sections {
		name, ok := strings.CutPrefix(section.name, prefix+"-")
		if !ok || name == "" {
			continue
		}
		i, err := s.readInterface(f, &section, name)
		if err != nil {
			return err
		}
		if err := s.addSection(i); err != nil {
			return fmt.Errorf("%s: [%s]: %w", f.name, section.name, err)
		}
	}
	if len(s.Network.Interfaces) == before {
		return fmt.Errorf("%s: interfaces-config: there is no section [%s-…]", f.name, prefix)
	}
	return nil
}

func (s *Settings) readInterface(f *iniFile, section *section, name string) (interfaceSection, error) {
	i := interfaceSection{name: name}
	for _, e := range section.entries {
		value, err := unescape(e.value)
		if err == nil {
			switch e.key {
			case "address":
				i.address = value
			case "advertised":
				i.advertised = value
			case "name":
				i.name = value
			case "alias":
				i.alias = value
			case "port-min":
				i.low, err = parseInt(value, 1, 65535)
			case "port-max":
				i.high, err = parseInt(value, 1, 65535)
			case "exclude-ports":
				i.exclude, err = parseRanges(value)
			default:
				s.Notes = append(s.Notes, Note{
					Message: "unknown option ignored", Option: e.key, Source: fmt.Sprintf("%s:%d", f.name, e.line),
				})
			}
		}
		if err != nil {
			return i, fmt.Errorf("%s:%d: %s: %w", f.name, e.line, e.key, err)
		}
	}
	return i, nil
}

// addSection adds the addresses that a section stands for.
func (s *Settings) addSection(i interfaceSection) error {
	if i.address == "" {
		if i.alias == "" {
			return fmt.Errorf("neither address nor alias is given")
		}
		return addAlias(s, i.name, i.alias)
	}
	n := &s.Network
	before := len(n.Interfaces)
	if err := s.addAddresses(i.name, splitList(i.address), i.advertised); err != nil {
		return err
	}
	for k := before; k < len(n.Interfaces); k++ {
		n.Interfaces[k].PortMin, n.Interfaces[k].PortMax, n.Interfaces[k].Exclude = i.low, i.high, i.exclude
	}
	if i.alias != "" {
		for _, alias := range splitList(i.alias) {
			if err := addAlias(s, alias, i.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// parseRanges reads ports and ranges of ports, separated by semicolons or
// commas: 30010;30020-30029.
func parseRanges(text string) ([]PortRange, error) {
	var out []PortRange
	for _, word := range splitList(strings.ReplaceAll(text, ",", ";")) {
		first, last, ranged := strings.Cut(word, "-")
		if !ranged {
			last = first
		}
		low, errLow := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
		high, errHigh := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
		if errLow != nil || errHigh != nil || low > high {
			return nil, fmt.Errorf("%q is neither a port nor a range of ports", word)
		}
		out = append(out, PortRange{Min: uint16(low), Max: uint16(high)})
	}
	slices.SortFunc(out, func(a, b PortRange) int { return int(a.Min) - int(b.Min) })
	return out, nil
}
