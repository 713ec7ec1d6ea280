package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// echo is a protocol with every shape of field, to test decoding without a real one.
type echo struct{}

type echoListener struct {
	Cluster string            `yaml:"cluster" required:"true"`
	Mode    string            `yaml:"mode" enum:"loud|quiet"`
	Size    Bytes             `yaml:"size"`
	Wait    Duration          `yaml:"wait"`
	Times   int               `yaml:"times" min:"1" max:"9"`
	Share   float64           `yaml:"share"`
	Port    uint16            `yaml:"port"`
	Twice   bool              `yaml:"twice"`
	Words   []string          `yaml:"words"`
	Labels  map[string]string `yaml:"labels"`
	Secret  Secret            `yaml:"secret"`
	Inner   *struct {
		Depth int `yaml:"depth"`
	} `yaml:"inner"`
}

type echoCluster struct {
	Password Secret `yaml:"password"`
}

func (echo) Name() string       { return "echo" }
func (echo) ListenerBlock() any { return &echoListener{Times: 1} }
func (echo) ClusterBlock() any  { return &echoCluster{} }
func (echo) CheckListener(m *Model, l *Listener, at Path) []Problem {
	return m.CheckClusterRef(l.Block.(*echoListener).Cluster, "echo", at.Field("cluster"))
}
func (echo) CheckCluster(*Model, *Cluster, Path) []Problem { return nil }

// mute has clusters only.
type mute struct{ echo }

func (mute) Name() string       { return "mute" }
func (mute) ListenerBlock() any { return nil }

// notes is a kind of resource that may bring a cluster along.
type notes struct{}

func (notes) Name() string { return "notes" }
func (notes) Decode(n *yaml.Node, at Path, env *Env) (Resource, []Problem) {
	var v struct {
		Name    string `yaml:"name" required:"true"`
		File    string `yaml:"file"`
		Cluster string `yaml:"cluster"`
	}
	if p := Decode(n, at, &v, env); len(p) > 0 {
		return Resource{}, p
	}
	r := Resource{Name: v.Name, Value: &v}
	if v.File != "" {
		data, err := env.Read(v.File)
		if err != nil {
			return r, []Problem{at.Field("file").Problem("%v", err)}
		}
		r.Source = data
	}
	if v.Cluster != "" {
		c, _ := Parse([]byte(fmt.Sprintf("{name: %s, echo: {}, endpoints: ['%s:1']}", v.Name+"/0", v.Cluster)))
		r.Clusters = append(r.Clusters, c)
	}
	return r, nil
}
func (notes) Check(*Model, *Resource, Path) []Problem { return nil }

var language = Language{Protocols: []Protocol{echo{}, mute{}}, Kinds: []Kind{notes{}}}

func testEnv() *Env {
	files := map[string]string{"/etc/pw": "fromfile\n", "/etc/note": "one"}
	return &Env{
		Dir:       "/etc",
		LookupEnv: func(k string) (string, bool) { return "fromenv", k == "PW" },
		ReadFile: func(p string) ([]byte, error) {
			if v, ok := files[p]; ok {
				return []byte(v), nil
			}
			return nil, fmt.Errorf("open %s: no such file", p)
		},
	}
}

func compile(text string) (*Snapshot, []Problem) {
	n, problems := Parse([]byte(text))
	if len(problems) > 0 {
		return nil, problems
	}
	m, problems := language.DecodeModel(n, Origin{Source: "test"}, testEnv())
	if len(problems) > 0 {
		return nil, problems
	}
	return language.Compile(m, nil)
}

// TestCompile runs the cases of testdata/*.txt: "compile" and a configuration, "----", then its problems or its dump.
func TestCompile(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for i, block := range strings.Split(strings.TrimSpace(string(data)), "\n\n\n") {
			input, want, ok := strings.Cut(block+"\n", "\n----\n")
			if !ok {
				t.Fatalf("%s: case %d has no ----", file, i)
			}
			name, text, _ := strings.Cut(input, "\n")
			got := outcome(text)
			fmt.Fprintf(&out, "%s\n%s\n----\n%s\n\n\n", name, text, got)
			if got != strings.TrimSpace(want) && os.Getenv("REWRITE") == "" {
				t.Errorf("%s: %s:\n%s\ngot:\n%s\nwant:\n%s", file, name, text, got, want)
			}
		}
		if os.Getenv("REWRITE") != "" {
			if err := os.WriteFile(file, []byte(strings.TrimSpace(out.String())+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func outcome(text string) string {
	s, problems := compile(text)
	if len(problems) > 0 {
		return Problems(problems).Error()
	}
	dump := s.Dump()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	var strip func(v any) any
	strip = func(v any) any { // versions are hashes: not for reading
		switch x := v.(type) {
		case map[string]any:
			delete(x, "version")
			delete(x, "origin")
			for k := range x {
				x[k] = strip(x[k])
			}
		case []any:
			for i := range x {
				x[i] = strip(x[i])
			}
		}
		return v
	}
	for _, k := range []string{"node", "admin", "access_log", "drain", "memory"} {
		delete(dump, k)
	}
	if err := enc.Encode(strip(dump)); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

const small = `
listeners: [{name: a, address: "127.0.0.1:1", echo: {cluster: c, secret: %s}}]
clusters: [{name: c, echo: {}, endpoints: ["h:1"]}, {name: d, echo: {}, endpoints: ["h:2"]}]
notes: [{name: n, file: note}]
`

// What did not change keeps its pointer, so that its holders can tell.
func TestUnchangedResourcesKeepTheirPointers(t *testing.T) {
	parse := func(text string, prev *Snapshot) *Snapshot {
		n, _ := Parse([]byte(text))
		m, problems := language.DecodeModel(n, Origin{}, testEnv())
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		s, problems := language.Compile(m, prev)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return s
	}
	one := parse(fmt.Sprintf(small, "x"), nil)
	same := parse(fmt.Sprintf(small, "x")+"\n# a comment changes nothing\n", one)
	if one.Version != same.Version || one.Listener("a") != same.Listener("a") || one.Cluster("c") != same.Cluster("c") {
		t.Fatal("an equal configuration changed identities")
	}
	other := parse(strings.Replace(fmt.Sprintf(small, "y"), "h:2", "h:3", 1), one)
	if other.Version == one.Version {
		t.Fatal("a changed secret and endpoint did not change the version")
	}
	if other.Listener("a") == one.Listener("a") {
		t.Fatal("a changed secret kept the listener's identity")
	}
	if other.Cluster("c") != one.Cluster("c") || other.Resource("notes", "n") != one.Resource("notes", "n") {
		t.Fatal("what did not change lost its identity")
	}
	if other.Cluster("d") == one.Cluster("d") {
		t.Fatal("a changed endpoint kept the cluster's identity")
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	for _, form := range []string{"hunter2", "{env: PW}", "{file: pw}"} {
		s, problems := compile(fmt.Sprintf(small, form))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		block := s.Listener("a").Block.(*echoListener)
		if v := block.Secret.Value(); v != "hunter2" && v != "fromenv" && v != "fromfile" {
			t.Fatalf("value is %q", v)
		}
		j, err := json.Marshal(s.Dump())
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{string(j), fmt.Sprintf("%v %+v %#v %s", block, block, *block, block.Secret)} {
			for _, secret := range []string{"hunter2", "fromenv", "fromfile"} {
				if strings.Contains(text, secret) {
					t.Errorf("%s shows its value in %s", form, text)
				}
			}
		}
	}
}

func TestFilesAreRemembered(t *testing.T) {
	env := testEnv()
	n, _ := Parse([]byte(fmt.Sprintf(small, "{file: pw}")))
	if _, p := language.DecodeModel(n, Origin{}, env); len(p) > 0 {
		t.Fatal(p)
	}
	if got := strings.Join(env.Files(), " "); got != "/etc/note /etc/pw" {
		t.Fatalf("files are %s", got)
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(small, "{env: PW}")))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("listeners: {}\nclusters: [1, [2], {a: b}]\n? [x]\n: y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, problems := compile(string(data))
		if (s == nil) == (len(problems) == 0) {
			t.Fatalf("snapshot %v with problems %v", s, problems)
		}
	})
}
