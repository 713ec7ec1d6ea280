package schema

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const conf = "../../conf/"

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(conf + "sidewire.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func check(t *testing.T, s *jsonschema.Schema, file string) error {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		return err
	}
	return s.Validate(v)
}

func TestSchemaAcceptsEveryExample(t *testing.T) {
	s := compiled(t)
	files, _ := filepath.Glob(conf + "*.yaml")
	if len(files) == 0 {
		t.Fatal("no examples")
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".sharding.yaml") || strings.HasPrefix(filepath.Base(file), "envoy-") { // Envoy's own form has its own schema
			continue
		}
		if err := check(t, s, file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// What only shape makes wrong, an editor finds as well; references and readable files it cannot know.
func TestSchemaRefusesBrokenShapes(t *testing.T) {
	s := compiled(t)
	for _, name := range []string{"list-at-top", "misspelt-section", "unknown-protocol", "two-protocols",
		"duration-without-unit", "unknown-balance", "wrong-types", "tls-without-key"} {
		if err := check(t, s, conf+"bad/"+name+".yaml"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
