package settings

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/tandem-sbc/tandem/pkg/conf"
)

var update = flag.Bool("update", false, "write schema.json anew")

// written is how values with a form of their own stand in the file.
func written(t reflect.Type) *jsonschema.Schema {
	text := func(pattern, example string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: pattern, Examples: []any{example}}
	}
	switch t {
	case reflect.TypeFor[conf.Duration]():
		return text(`^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`, "30s")
	case reflect.TypeFor[conf.Size]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "integer", Minimum: "0"}, text(`^[0-9]+ *([kKMG]i?B)?$`, "64KiB")}}
	case reflect.TypeFor[conf.Endpoint]():
		return text(`:[0-9]+$`, "192.0.2.1:5060")
	case reflect.TypeFor[conf.Network]():
		return text(`^[0-9a-fA-F.:]+(/[0-9]+)?$`, "192.0.2.0/24")
	case reflect.TypeFor[conf.Secret]():
		return &jsonschema.Schema{Type: "string", WriteOnly: true}
	case reflect.TypeFor[Node](): // an address alone, or a mapping
		r := reflector()
		r.Mapper = func(t reflect.Type) *jsonschema.Schema {
			if t == reflect.TypeFor[Node]() {
				return nil
			}
			return written(t)
		}
		mapping := r.ReflectFromType(t)
		mapping.Version, mapping.ID = "", ""
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string", Pattern: `^udp:`, Examples: []any{"udp:127.0.0.1:2223=1"}}, mapping}}
	}
	// A list of one may be written without brackets.
	if t == reflect.TypeFor[conf.List]() {
		one := &jsonschema.Schema{Type: "string"}
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{one, {Type: "array", Items: one}}}
	}
	return nil
}

func reflector() *jsonschema.Reflector {
	return &jsonschema.Reflector{
		FieldNameTag: "yaml", Mapper: written, ExpandedStruct: true, DoNotReference: true, RequiredFromJSONSchemaTags: true, Anonymous: true,
	}
}

// schema makes the schema from the types and their comments.
func schema(t *testing.T) []byte {
	t.Helper()
	r := reflector()
	require.NoError(t, r.AddGoComments("github.com/tandem-sbc/tandem/proxy/internal/settings", "./"))
	for name, text := range r.CommentMap { // one line each
		r.CommentMap[name] = strings.Join(strings.Fields(text), " ")
	}
	s := r.Reflect(&Settings{})
	s.Title = "Configuration of Tandem's proxy"
	out, err := json.MarshalIndent(s, "", "  ")
	require.NoError(t, err)
	return append(out, '\n')
}

func TestSchemaIsTrueToTheTypes(t *testing.T) {
	now := schema(t)
	if *update {
		require.NoError(t, os.WriteFile("schema.json", now, 0o644))
	}
	require.True(t, bytes.Equal(now, Schema), "the types have changed: go test ./proxy/internal/settings -run Schema -update")
}

// TestSamplesFitTheSchema: what the loader takes the schema takes, and it finds what is misspelt.
func TestSamplesFitTheSchema(t *testing.T) {
	c := validator.NewCompiler()
	doc, err := validator.UnmarshalJSON(bytes.NewReader(Schema))
	require.NoError(t, err)
	require.NoError(t, c.AddResource("schema.json", doc))
	s, err := c.Compile("schema.json")
	require.NoError(t, err)
	check := func(text []byte) error {
		var value any
		require.NoError(t, yaml.Unmarshal(text, &value))
		plain, err := json.Marshal(value)
		require.NoError(t, err)
		instance, err := validator.UnmarshalJSON(bytes.NewReader(plain))
		require.NoError(t, err)
		return s.Validate(instance)
	}
	var samples []string
	for _, pattern := range []string{"deploy/*.yaml", "deploy/*/*.yaml", "integration/sipbench/*.yaml"} {
		found, err := filepath.Glob(filepath.Join("..", "..", "..", pattern))
		require.NoError(t, err)
		samples = append(samples, found...)
	}
	require.GreaterOrEqual(t, len(samples), 3)
	for _, sample := range samples {
		text, err := os.ReadFile(sample)
		require.NoError(t, err)
		require.NoError(t, check(text), sample)
	}
	for _, wrong := range []string{"listener: []", "listeners: [{adress: x}]", "registrar: {min_expires: 60}", "limits: {calls: many}", "media: {nodes: [5]}"} {
		require.Error(t, check([]byte(wrong)), wrong)
	}
}
