package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sphereDatabase = `
databaseName: shop
dataSources:
  ds_0: {url: "jdbc:mysql://127.0.0.1:3306/demo_0", username: root, password: x}
  ds_1: {url: "jdbc:mysql://127.0.0.1:3306/demo_1", username: root, password: x}
rules:
- !SHARDING
  tables:
    t_order:
      actualDataNodes: ds_${0..1}.t_order
      databaseStrategy: {standard: {shardingColumn: user_id, shardingAlgorithmName: by_user}}
  shardingAlgorithms:
    by_user: {type: INLINE, props: {algorithm-expression: "ds_${user_id % 2}"}}
`

func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExplain(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "shop.yaml", sphereDatabase)
	config := put(t, dir, "sidewire.yaml", "databases: [{name: shop, file: shop.yaml}]\n")
	tables := put(t, dir, "tables.sql", "CREATE TABLE t_order (id BIGINT PRIMARY KEY, user_id BIGINT, name VARCHAR(9)) COLLATE utf8mb4_bin;")
	for _, c := range []struct {
		name string
		f    explainFlags
		sql  string
		want string
	}{
		{"text", explainFlags{config: config}, "SELECT * FROM t_order WHERE user_id = 3",
			"read\nt_order: user_id chooses 1 of 2 shards\n-> ds_1: SELECT * FROM `t_order` AS `t_order` WHERE user_id = 3\n"},
		{"json", explainFlags{config: filepath.Join(dir, "shop.yaml"), json: true}, "UPDATE t_order SET user_id = 1",
			"{\n  \"class\": \"write\",\n  \"tables\": [\n    \"t_order\"\n  ],\n  \"refusal\": {\n    \"code\": 1235,\n    \"sqlstate\": \"42000\",\n" +
				"    \"reason\": \"changing sharding column user_id of t_order would move the row to another shard\",\n    \"way\": \"delete the row and insert it again\"\n  }\n}\n"},
		{"tables", explainFlags{config: config, database: "shop", tables: tables}, "SELECT id FROM t_order ORDER BY name",
			"read\nt_order: no condition on user_id, 2 of 2 shards\n-> ds_0: SELECT id, name, WEIGHT_STRING(name) FROM `t_order` AS `t_order` ORDER BY name\n" +
				"-> ds_1: SELECT id, name, WEIGHT_STRING(name) FROM `t_order` AS `t_order` ORDER BY name\n" +
				"merge: ordered by derived column 1 (as text by derived column 2), streaming\nmerge: 2 derived columns cut off\n"},
	} {
		var out, errs bytes.Buffer
		if err := c.f.explain(&out, &errs, []string{c.sql}); err != nil {
			t.Errorf("%s: %v: %s", c.name, err, errs.String())
		}
		if out.String() != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, out.String(), c.want)
		}
	}
	log := put(t, dir, "general.log", "\t\t    31 Query\tselect * from t_order where user_id = 1\n")
	var out bytes.Buffer
	f := explainFlags{config: config, log: log}
	if err := f.explain(&out, &out, nil); err != nil || !strings.Contains(out.String(), "1 statements, 1 keyed") {
		t.Errorf("log: %v %s", err, out.String())
	}
	f = explainFlags{config: config, database: "none"}
	if err := f.explain(&out, &out, []string{"select 1"}); err == nil || !strings.Contains(out.String(), `no virtual database named "none"; there are shop`) {
		t.Errorf("unknown database: %v %s", err, out.String())
	}
}

func TestImportShardingSphere(t *testing.T) {
	dir, into := t.TempDir(), t.TempDir()
	put(t, dir, "database-sharding.yaml", sphereDatabase)
	put(t, dir, "global.yaml", "mode: {type: Cluster}\nauthority:\n  users:\n  - {user: root@%, password: root}\n  - {user: app@10.0.0.1, password: secret}\n"+
		"props: {proxy-default-port: 3399, sql-show: false, kernel-executor-size: 16}\n")
	put(t, dir, "database-encrypt.yaml", "databaseName: e\ndataSources: {ds: {url: \"jdbc:mysql://h/d\"}}\nrules:\n- !ENCRYPT\n  tables: {}\n")
	put(t, dir, "logback.yaml", "a: b\n")
	var out, errs bytes.Buffer
	if err := importShardingSphere(&out, &errs, dir, ""); err == nil {
		t.Error("a file that could not be taken was not an error")
	}
	for _, want := range []string{"database-encrypt.yaml:4: rules[0]: rule !ENCRYPT is not supported", "global.yaml: mode is not taken",
		"global.yaml: props.sql-show is not taken", "user app: its host 10.0.0.1 is not taken", "logback.yaml: not a database file"} {
		if !strings.Contains(errs.String(), want) {
			t.Errorf("not told: %s; told:\n%s", want, errs.String())
		}
	}
	if err := os.Remove(filepath.Join(dir, "database-encrypt.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := importShardingSphere(&out, &errs, dir, into); err != nil {
		t.Fatal(err, errs.String())
	}
	text, err := os.ReadFile(filepath.Join(into, "sidewire.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"address: 127.0.0.1:3399", "name: app", "file: database-sharding.yaml"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("sidewire.yaml lacks %q:\n%s", want, text)
		}
	}
	set, err := loadRules(filepath.Join(into, "sidewire.yaml"), "")
	if err != nil || set == nil || set.Database != "shop" {
		t.Errorf("what was written does not load: %v", err)
	}
}
