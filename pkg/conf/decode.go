package conf

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Shorthand is a struct that may be written as a mapping or as one value.
type Shorthand interface {
	// UnmarshalShort sets the struct from the one value.
	UnmarshalShort(text string) error
}

// decode puts node into v, a settable value, and records where it stands.
func (d *Document) decode(node *yaml.Node, v reflect.Value, key string, depth int) {
	if key != "" {
		d.lines[key] = node.Line
	}
	if depth > maxDepth {
		d.add(node.Line, key, fmt.Sprintf("nested deeper than %d", maxDepth))
		return
	}
	if node.Kind == yaml.AliasNode {
		d.add(node.Line, key, "aliases are not allowed")
		return
	}
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.decodeText(node, t, key)
		return
	}
	if t, ok := v.Addr().Interface().(Shorthand); ok && node.Kind == yaml.ScalarNode && node.Tag != "!!null" {
		if err := t.UnmarshalShort(node.Value); err != nil {
			d.add(node.Line, key, err.Error())
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(node, v, key, depth)
	case reflect.Slice:
		d.decodeSlice(node, v, key, depth)
	case reflect.Map:
		d.decodeMap(node, v, key, depth)
	case reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		d.decode(node, target.Elem(), key, depth)
		v.Set(target)
	default:
		d.decodeScalar(node, v, key)
	}
}

func (d *Document) decodeText(node *yaml.Node, t encoding.TextUnmarshaler, key string) {
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		d.add(node.Line, key, "must be a single value")
		return
	}
	if err := t.UnmarshalText([]byte(node.Value)); err != nil {
		d.add(node.Line, key, err.Error())
	}
}

func (d *Document) decodeStruct(node *yaml.Node, v reflect.Value, key string, depth int) {
	if node.Kind != yaml.MappingNode {
		if node.Tag == "!!null" {
			return // "key:" without a value: all defaults
		}
		d.add(node.Line, key, "must be a mapping")
		return
	}
	fields := fieldsOf(v.Type())
	seen := make(map[string]bool, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		path := join(key, name.Value)
		if seen[name.Value] {
			d.add(name.Line, path, "given twice")
			continue
		}
		seen[name.Value] = true
		index, ok := fields[name.Value]
		if !ok {
			d.add(name.Line, path, unknownKey(name.Value, fields))
			continue
		}
		d.decode(value, v.Field(index), path, depth+1)
		d.lines[path] = name.Line
	}
}

func (d *Document) decodeSlice(node *yaml.Node, v reflect.Value, key string, depth int) {
	if node.Tag == "!!null" {
		v.SetZero()
		return
	}
	if node.Kind == yaml.ScalarNode && v.Type() == reflect.TypeFor[List]() {
		v.Set(reflect.ValueOf(List{node.Value}))
		return
	}
	if node.Kind != yaml.SequenceNode {
		d.add(node.Line, key, "must be a list")
		return
	}
	list := reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content))
	for i, item := range node.Content {
		d.decode(item, list.Index(i), fmt.Sprintf("%s[%d]", key, i), depth+1)
	}
	v.Set(list)
}

func (d *Document) decodeMap(node *yaml.Node, v reflect.Value, key string, depth int) {
	if node.Tag == "!!null" {
		return
	}
	if node.Kind != yaml.MappingNode {
		d.add(node.Line, key, "must be a mapping")
		return
	}
	out := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		path := join(key, name.Value)
		mapKey := reflect.ValueOf(name.Value).Convert(v.Type().Key())
		if out.MapIndex(mapKey).IsValid() {
			d.add(name.Line, path, "given twice")
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.decode(value, item, path, depth+1)
		d.lines[path] = name.Line
		out.SetMapIndex(mapKey, item)
	}
	v.Set(out)
}

func (d *Document) decodeScalar(node *yaml.Node, v reflect.Value, key string) {
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		d.add(node.Line, key, "must be a single value")
		return
	}
	if err := setScalar(v, node.Value); err != nil {
		d.add(node.Line, key, err.Error())
	}
}

// setScalar parses text into v by v's kind.
func setScalar(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		switch text {
		case "true", "yes", "on":
			v.SetBool(true)
		case "false", "no", "off":
			v.SetBool(false)
		default:
			return fmt.Errorf("%q is neither true nor false", text)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a positive whole number", text)
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a number", text)
		}
		v.SetFloat(n)
	default:
		panic(fmt.Sprintf("conf: no way to read a %s", v.Type()))
	}
	return nil
}

// override replaces values by the environment variables named in env tags.
func (d *Document) override(into any, lookup func(string) (string, bool)) {
	d.overrideStruct(reflect.ValueOf(into).Elem(), lookup)
}

func (d *Document) overrideStruct(v reflect.Value, lookup func(string) (string, bool)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if name := field.Tag.Get("env"); name != "" {
			if text, ok := lookup(name); ok {
				d.overrideValue(v.Field(i), name, text)
			}
			continue
		}
		if v.Field(i).Kind() == reflect.Struct && field.IsExported() {
			d.overrideStruct(v.Field(i), lookup)
		}
	}
}

func (d *Document) overrideValue(v reflect.Value, name, text string) {
	var err error
	switch t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); {
	case ok:
		err = t.UnmarshalText([]byte(text))
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.String:
		list := strings.Split(text, ",")
		for i := range list {
			list[i] = strings.TrimSpace(list[i])
		}
		v.Set(reflect.ValueOf(list).Convert(v.Type()))
	default:
		err = setScalar(v, text)
	}
	if err != nil {
		d.faults = append(d.faults, Fault{File: "environment", Key: name, Reason: err.Error()})
	}
}

// fieldsOf maps the yaml names of a struct type to field indexes.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
			fields[name] = i
		}
	}
	return fields
}

// Keys returns the path of every key that a configuration struct has, sorted;
// list items are written [] and the keys of free mappings <name>. It lets a
// test compare the manual with the code.
func Keys(config any) []string {
	var keys []string
	walkKeys(reflect.TypeOf(config), "", &keys)
	slices.Sort(keys)
	return keys
}

func walkKeys(t reflect.Type, key string, keys *[]string) {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		*keys = append(*keys, key)
		return
	}
	switch t.Kind() {
	case reflect.Pointer:
		walkKeys(t.Elem(), key, keys)
	case reflect.Struct:
		for name, index := range fieldsOf(t) {
			walkKeys(t.Field(index).Type, join(key, name), keys)
		}
	case reflect.Slice:
		walkKeys(t.Elem(), key+"[]", keys)
	case reflect.Map:
		walkKeys(t.Elem(), join(key, "<name>"), keys)
	default:
		*keys = append(*keys, key)
	}
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// unknownKey is the reason for an unknown key, with the known key that looks
// most like it or else all of them.
func unknownKey(name string, fields map[string]int) string {
	known := make([]string, 0, len(fields))
	for k := range fields {
		known = append(known, k)
	}
	slices.Sort(known)
	for _, k := range known {
		if distance(name, k) <= 2 {
			return fmt.Sprintf("unknown key; did you mean %s?", k)
		}
	}
	return "unknown key; known here: " + strings.Join(known, ", ")
}

// distance is the Levenshtein distance of two short strings.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost = 1 + min(previous, row[j], row[j+1])
			}
			previous, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
