package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/leak"
)

// The demo holds every check, beside another one on the same machine too, and leaves nothing.
func TestDemo(t *testing.T) {
	leak.Check(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, "../../conf/demo.yaml", true); err != nil {
		t.Fatal(err)
	}
}

// Where a port of the file is taken, everything moves, the file that sidewire reads included.
func TestSettleMoves(t *testing.T) {
	text, err := os.ReadFile("../../conf/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	first, err := settle("../../conf/demo.yaml", dir)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", first.clusters["cache"][1])
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	second, err := settle("../../conf/demo.yaml", dir)
	if err != nil {
		t.Fatal(err)
	}
	if second.moved <= first.moved || second.admin == first.admin || second.clusters["events"][2] == first.clusters["events"][2] {
		t.Errorf("moved from %+v to %+v", first, second)
	}
	moved, err := os.ReadFile(second.file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(moved), first.listeners["shop"]) {
		t.Error("the file names an address from before")
	}
	if len(strings.Split(string(moved), "\n")) != len(strings.Split(string(text), "\n")) {
		t.Error("the moved file has other lines")
	}
	if _, err := os.Stat(filepath.Join(dir, "demo.sharding.yaml")); err != nil {
		t.Error(err)
	}
}

// A file that the demo does not fit is refused before anything starts.
func TestSettleRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte("listeners: [{name: shop, address: \"127.0.0.1:13306\"}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := settle(file, t.TempDir()); err == nil || !strings.Contains(err.Error(), `no listener named "cache"`) && !strings.Contains(err.Error(), `"events"`) {
		t.Errorf("%v", err)
	}
}

// One check that does not hold fails the whole, and the account says which.
func TestAccountFails(t *testing.T) {
	a := &account{place: &place{listeners: map[string]string{}, clusters: map[string][]string{"shop-0": {"x"}}}}
	a.check(true, "first")
	a.check(false, "second")
	a.row("rows", "here", 3)
	a.row("rows", "there", 0)
	var out bytes.Buffer
	a.print(&out, "admin")
	if !a.failed || !strings.Contains(out.String(), "FAILED  second") || !strings.Contains(out.String(), "there          0") {
		t.Errorf("failed %v:\n%s", a.failed, out.String())
	}
}
