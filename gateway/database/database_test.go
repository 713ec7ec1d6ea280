package database

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/sidewire/sidewire/gateway/config"
)

const grouped = `
name: shop
rules:
  databaseName: shop
  dataSources:
    w: {url: "jdbc:mysql://10.0.0.1:3306/shop", username: app, password: x}
    r1: {url: "jdbc:mysql://10.0.0.2:3306/shop", username: app, password: x}
    r2: {url: "jdbc:mysql://10.0.0.3:3306/shop", username: app, password: x}
    other: {url: "jdbc:mysql://10.0.0.4:3306/rest", username: app, password: x}
  rules:
    - !READWRITE_SPLITTING
      dataSourceGroups:
        group: {writeDataSourceName: w, readDataSourceNames: [r1, r2], loadBalancerName: b}
      loadBalancers: {b: {type: BALANCER}}
    - !SINGLE
      tables: ["*.*"]
`

func decode(t *testing.T, text string) (config.Resource, string) {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	r, problems := Kind("mysql").Decode(n.Content[0], "databases[0]", config.SystemEnv(t.TempDir()))
	var said []string
	for _, p := range problems {
		said = append(said, string(p.Path)+": "+p.Message)
	}
	return r, strings.Join(said, "\n")
}

// A read/write group becomes one cluster, whose replicas read as its load balancer says.
func TestReadGroups(t *testing.T) {
	for balancer, want := range map[string]string{
		"ROUND_ROBIN": "balance: round_robin\nendpoints:\n    - address: 10.0.0.1:3306\n      role: primary\n    - address: 10.0.0.2:3306\n      role: replica\n    - address: 10.0.0.3:3306\n      role: replica\n",
		"RANDOM":      "balance: random\nendpoints:\n    - address: 10.0.0.1:3306\n      role: primary\n    - address: 10.0.0.2:3306\n      role: replica\n    - address: 10.0.0.3:3306\n      role: replica\n",
		"WEIGHT, props: {r1: 2, r2: 1}": "balance: random\nendpoints:\n    - address: 10.0.0.1:3306\n      role: primary\n    - address: 10.0.0.2:3306\n      role: replica\n      weight: 2000\n" +
			"    - address: 10.0.0.3:3306\n      role: replica\n      weight: 1000\n",
	} {
		r, problems := decode(t, strings.Replace(grouped, "BALANCER", balancer, 1))
		if problems != "" || len(r.Clusters) != 2 {
			t.Fatalf("%s: %d clusters, %s", balancer, len(r.Clusters), problems)
		}
		text, err := yaml.Marshal(r.Clusters[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := string(text); !strings.HasPrefix(got, want) || !strings.Contains(got, "from: replicas") || !strings.Contains(got, "name: shop/group") {
			t.Errorf("%s:\n%s", balancer, got)
		}
		d := r.Value.(*Database)
		for name, at := range map[string]Source{"w": {"shop/group", "shop"}, "r2": {"shop/group", "shop"}, "other": {"shop/other", "rest"}} {
			if d.Sources[name] != at {
				t.Errorf("%s: %s is at %v", balancer, name, d.Sources[name])
			}
		}
	}
}

// A group whose readers could not stand in for its writer is refused when it is loaded.
func TestReadGroupsRefused(t *testing.T) {
	base := strings.Replace(grouped, "BALANCER", "RANDOM", 1)
	for _, tc := range []struct{ from, to, want string }{
		{"10.0.0.2:3306/shop", "10.0.0.2:3306/shop_copy", `databases "shop" and "shop_copy"`},
		{`10.0.0.3:3306/shop", username: app`, `10.0.0.3:3306/shop", username: reader`, `"w" and "r2" differ in user, password or TLS`},
		{`r1: {url: "jdbc:mysql://10.0.0.2:3306/shop", username: app, password: x}`, `r1: {cluster: elsewhere, database: shop}`, `"w" and "r1" are not in one cluster`},
	} {
		if _, got := decode(t, strings.Replace(base, tc.from, tc.to, 1)); !strings.Contains(got, `read/write group "group": `) || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q", tc.to, got)
		}
	}
}
