package xds

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write what the tests got into their files")

func fromYAML(t testing.TB, text string, into proto.Message) {
	t.Helper()
	tr, err := parseYAML([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(b, into); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// TestRead goes through testdata/read.txt: command, message, ----, meaning.
func TestRead(t *testing.T) {
	const file = "testdata/read.txt"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(text), "\n\n")
	out := head + "\n"
	for _, c := range strings.Split(rest, "\n\n") {
		in, want, ok := strings.Cut(c, "\n----")
		if !ok {
			continue
		}
		command, message, _ := strings.Cut(in, "\n")
		got := read(t, command, message)
		out += "\n" + in + "\n----\n" + got
		if want = strings.TrimPrefix(strings.TrimRight(want, "\n"), "\n") + "\n"; got != want && !*update {
			t.Errorf("%s\n---- got\n%s---- want\n%s", in, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, command, message string) string {
	var body tree
	var n notes
	extra := ""
	switch strings.Fields(command)[0] {
	case "listener":
		var m listenerv3.Listener
		fromYAML(t, message, &m)
		r, err := readListener(&m, nil)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		body, n = r.body, r.notes
	case "cluster":
		var m clusterv3.Cluster
		fromYAML(t, message, &m)
		r, err := readCluster(&m)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		body, n = r.body, r.notes
		if r.eds != "" {
			extra = "endpoints: of " + r.eds + "\n"
		}
		if r.spread != nil {
			extra += fmt.Sprintf("keys: %v\n", r.spread)
		}
	default:
		t.Fatalf("command %q", command)
	}
	walk(body, func(v any) any {
		if h, ok := v.(hole); ok {
			from := ""
			if h.file != "" {
				from = " in " + h.file
			}
			return fmt.Sprintf("(%s of %s%s)", h.part, h.secret, from)
		}
		if s, ok := v.(share); ok {
			return fmt.Sprintf("(%s, or %v)", s.key, s.percent)
		}
		return v
	})
	b, err := yaml.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	out := string(b) + extra
	for _, line := range n {
		out += "note: " + line + "\n"
	}
	return out
}
