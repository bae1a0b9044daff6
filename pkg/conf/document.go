package conf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFileSize is the largest file that is read, in bytes.
const MaxFileSize = 1 << 20

// maxDepth bounds how deep a file may nest.
const maxDepth = 32

// Document is a file that is being read: it remembers at which line each key
// stands and collects faults.
type Document struct {
	file   string
	lines  map[string]int
	faults Faults
}

// Load reads the file at path into the struct that into points to, then
// applies environment overrides. The returned document knows the faults so
// far and takes those of a later validation; its Err says whether the struct
// may be used. The error is not nil only if the file cannot be read at all.
func Load(path string, into any) (*Document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	if len(data) > MaxFileSize {
		return nil, fmt.Errorf("configuration %s: larger than %d bytes", path, MaxFileSize)
	}
	doc := Decode(path, data, into)
	doc.override(into, os.LookupEnv)
	return doc, nil
}

// Decode reads data, which came from the named file, into the struct that into
// points to.
func Decode(file string, data []byte, into any) *Document {
	doc := &Document{file: file, lines: make(map[string]int)}
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		panic("conf: Decode needs a pointer to a struct")
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var root yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return doc // an empty file: all defaults
	case err != nil:
		doc.syntax(err)
		return doc
	}
	doc.decode(root.Content[0], target.Elem(), "", 0)
	var more yaml.Node
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		doc.syntax(err)
	default:
		doc.add(more.Line, "", "a second document in the file")
	}
	return doc
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): `)

// syntax adds a fault for an error of the YAML parser, which names the line in
// its text.
func (d *Document) syntax(err error) {
	text, line := err.Error(), 0
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	}
	d.add(line, "", "not YAML: "+strings.TrimPrefix(text, "yaml: "))
}

func (d *Document) add(line int, key, reason string) {
	d.faults = append(d.faults, Fault{File: d.file, Line: line, Key: key, Reason: reason})
}

// Fault adds a fault of the value at the key path. If the key is not in the
// file, the line of its nearest parent is given.
func (d *Document) Fault(key, format string, args ...any) {
	d.add(d.Line(key), key, fmt.Sprintf(format, args...))
}

// Line returns the line of the key path or of its nearest parent, 0 if none of
// them is in the file.
func (d *Document) Line(key string) int {
	for key != "" {
		if line, ok := d.lines[key]; ok {
			return line
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			return 0
		}
		key = key[:cut]
	}
	return 0
}

// Has reports whether the key path is in the file.
func (d *Document) Has(key string) bool {
	_, ok := d.lines[key]
	return ok
}

// Err returns all faults as one Faults error in the order of the file, nil if
// there are none.
func (d *Document) Err() error {
	if len(d.faults) == 0 {
		return nil
	}
	d.faults.sort()
	return d.faults
}
