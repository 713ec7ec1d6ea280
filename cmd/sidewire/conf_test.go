package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// validated runs `sidewire validate -c file` and returns what it printed and its exit code.
func validated(t *testing.T, file string) (string, int) {
	t.Helper()
	c := validateCommand()
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetArgs([]string{"-c", file})
	err := c.Execute()
	if err == nil {
		return out.String(), 0
	}
	f, ok := err.(failure)
	if !ok {
		t.Fatal(err)
	}
	return out.String(), f.code
}

func files(t *testing.T, pattern string, least int) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < least {
		t.Fatalf("%s matches %d files, expected at least %d", pattern, len(names), least)
	}
	return names
}

// Every example is loaded, so that none of them promises what the binary does not take.
func TestExamplesAreValid(t *testing.T) {
	t.Setenv("SHOP_PASSWORD", "secret")
	t.Setenv("CACHE_PASSWORD", "secret")
	for _, file := range files(t, "../../conf/*.yaml", 1) {
		if strings.HasSuffix(file, ".sharding.yaml") { // rules, named by the file beside them
			continue
		}
		if out, code := validated(t, file); code != 0 {
			t.Errorf("%s: exit code %d\n%s", file, code, out)
		}
	}
}

// Every broken example gets exactly the problems that its `# expect:` lines announce.
func TestBrokenExamplesGetTheirProblems(t *testing.T) {
	for _, file := range files(t, "../../conf/bad/*.yaml", 20) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for line := range strings.Lines(string(data)) {
			if text, ok := strings.CutPrefix(line, "# expect: "); ok {
				want = append(want, text)
			}
		}
		out, code := validated(t, file)
		if len(want) == 0 || out != strings.Join(want, "") || code != exitFailed {
			t.Errorf("%s: exit code %d, printed\n%swant\n%s", file, code, out, strings.Join(want, ""))
		}
	}
}

func TestMissingFileIsOneProblem(t *testing.T) {
	out, code := validated(t, "nowhere.yaml")
	if code != exitFailed || out != "reading configuration: open nowhere.yaml: no such file or directory\n" {
		t.Fatalf("exit code %d, printed %q", code, out)
	}
}

// The checked-in schema is the one the types make: REWRITE=1 writes it anew.
func TestSchemaIsCheckedIn(t *testing.T) {
	const file = "../../conf/sidewire.schema.json"
	c := schemaCommand()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetArgs(nil)
	if err := c.Execute(); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("REWRITE") != "" {
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, out.Bytes()) {
		t.Fatalf("%s is not what `sidewire schema` prints; REWRITE=1 go test ./cmd/sidewire writes it", file)
	}
}
