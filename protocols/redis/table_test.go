package redis

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func request(t *testing.T, line string) *Request {
	t.Helper()
	var r Request
	if _, err := r.Next([]byte(line + "\r\n")); err != nil {
		t.Fatal(err)
	}
	return &r
}

func TestKeys(t *testing.T) {
	for line, want := range map[string]string{
		"GET a": "a", "get a": "a", "PING": "", "SET a b EX 1": "a", "MSET a 1 b 2": "a b", "DEL a b c": "a b c",
		"EVAL s 2 a b c d": "a b", "EVAL s 0 a": "", "FCALL f 1 k x": "k", "XREAD COUNT 2 STREAMS a b 0 0": "a b",
		"XREADGROUP GROUP g c BLOCK 0 STREAMS s >": "s", "ZUNIONSTORE d 2 a b WEIGHTS 1 2": "d a b", "BITOP AND d a b": "d a b",
		"SORT l BY w_* GET x STORE d STORE e": "l e", "GEORADIUS g 1 2 3 km STORE d": "g d", "BLPOP a b 0": "a b", "BLMPOP 0 2 a b LEFT": "a b",
		"LMPOP 2 a b LEFT": "a b", "OBJECT ENCODING k": "k", "MEMORY USAGE k": "k", "XGROUP CREATE s g 0": "s", "MIGRATE h 1 k 0 10": "k",
		"MIGRATE h 1 \"\" 0 10 KEYS a b": "a b", "COPY a b": "a b", "RENAME a b": "a b", "SMOVE a b m": "a b", "PFCOUNT a b": "a b",
		"SINTERCARD 2 a b LIMIT 1": "a b", "LCS a b": "a b", "WATCH a b": "a b", "XINFO STREAM s": "s", "SPUBLISH c m": "c",
	} {
		r := request(t, line)
		c := Lookup(r.Arg(0))
		if c == nil {
			t.Errorf("%s: unknown", line)
			continue
		}
		if len(c.Sub) > 0 {
			c = c.Subcommand(r.Arg(1))
		}
		pos, err := c.AppendKeys(nil, r)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		var got []string
		for _, p := range pos {
			got = append(got, string(r.Arg(p)))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: keys %q, want %q", line, got, want)
		}
	}
}

func TestKeysRefuseWrongNumbers(t *testing.T) {
	for _, line := range []string{"EVAL s 3 a b", "EVAL s -1 a", "EVAL s x a", "ZUNION 9223372036854775807 a", "XREAD STREAMS a b 0"} {
		r := request(t, line)
		if pos, err := Lookup(r.Arg(0)).AppendKeys(nil, r); err == nil {
			t.Errorf("%s: keys at %v", line, pos)
		}
	}
}

func TestEveryCommandIsFound(t *testing.T) {
	ids := map[uint16]bool{}
	n := 0
	for i := range commands {
		c := &commands[i]
		if Lookup([]byte(strings.ToUpper(c.Name))) != c {
			t.Errorf("%s is not found", c.Name)
		}
		for _, c := range append([]Command{*c}, c.Sub...) {
			n++
			if ids[c.ID] || int(c.ID) >= Count {
				t.Errorf("%s has the ID %d", c.Name, c.ID)
			}
			ids[c.ID] = true
		}
	}
	if n != Count || n < 350 {
		t.Errorf("%d commands, Count is %d", n, Count)
	}
	for _, name := range []string{"", "nonsense", strings.Repeat("x", 100)} {
		if c := Lookup([]byte(name)); c != nil {
			t.Errorf("%q is %s", name, c.Name)
		}
	}
}

// Redis's documentation names these as the commands that a proxy splits; a definition lost in condensing would show here.
func TestPolicies(t *testing.T) {
	want := map[RequestPolicy][]string{MultiShard: {"del", "exists", "mget", "mset", "touch", "unlink"}}
	got := map[RequestPolicy][]string{}
	for _, c := range commands {
		got[c.Request] = append(got[c.Request], c.Name)
	}
	for p, names := range want {
		have := slices.DeleteFunc(got[p], func(n string) bool { return n == "msetnx" })
		if !slices.Equal(have, names) {
			t.Errorf("policy %d: %v, want %v", p, have, names)
		}
	}
	if c := Lookup([]byte("dbsize")); c.Request != AllShards || c.Response != Sum {
		t.Errorf("dbsize: %+v", c)
	}
	if c := Lookup([]byte("scan")); c.Request != SpecialRequest {
		t.Errorf("scan: %+v", c)
	}
}

func TestTableIsGenerated(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the generator")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "internal/gen"), 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("internal/gen/commands.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "internal/gen/commands.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "run", "./internal/gen", "-dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "table_gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("table_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, have) {
		t.Error("table_gen.go is not what the generator writes: run go generate ./protocols/redis")
	}
}
