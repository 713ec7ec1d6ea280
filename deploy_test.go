package sidewire_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// metricName finds the metrics of sidewire in code, rules and panels.
var metricName = regexp.MustCompile(`sidewire_[a-z0-9_]+`)

// registered are the metrics that the code names.
func registered(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir("gateway", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range metricName.FindAllString(string(text), -1) {
			names[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A dashboard or an alert about a metric that does not exist says that all is well.
func TestDashboardAndAlertsUseMetricsThatExist(t *testing.T) {
	names := registered(t)
	for _, file := range []string{"deploy/grafana/sidewire.json", "deploy/prometheus/alerts.yaml"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		used := metricName.FindAllString(string(text), -1)
		if len(used) == 0 {
			t.Errorf("%s names no metric", file)
		}
	next:
		for _, name := range used {
			for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
				if base, ok := strings.CutSuffix(name, suffix); ok && names[base] {
					continue next
				}
			}
			t.Errorf("%s uses %s, which nothing registers", file, name)
		}
	}
}

func TestDeployFilesAreWellFormed(t *testing.T) {
	text, err := os.ReadFile("deploy/grafana/sidewire.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct{ Title string }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil || len(dashboard.Panels) == 0 {
		t.Fatalf("dashboard: %v, %d panels", err, len(dashboard.Panels))
	}
	for _, file := range []string{"deploy/prometheus/alerts.yaml", "deploy/kubernetes/sidecar.yaml", "docker-compose.yml"} {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		d := yaml.NewDecoder(f)
		documents := 0
		for {
			var v map[string]any
			if err := d.Decode(&v); err != nil {
				if err.Error() != "EOF" {
					t.Errorf("%s: %v", file, err)
				}
				break
			}
			documents++
		}
		f.Close()
		if documents == 0 {
			t.Errorf("%s is empty", file)
		}
	}
}
