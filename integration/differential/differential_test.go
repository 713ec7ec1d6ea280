package differential

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sidewire/sidewire/integration/servers"
)

// setting reads a whole number from the environment.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestDifferential runs generated statements on one unsharded server and on 4 and 10 shards, asked by the planner and the
// merge alone. DIFFERENTIAL says how many (2,000 by default), DIFFERENTIAL_SEED from which seed.
func TestDifferential(t *testing.T) {
	t.Run("mariadb", func(t *testing.T) { differential(t, servers.MariaDB(t), nil, setting(t, "DIFFERENTIAL", 2000)) })
}

// TestThroughSidewire does the same through a sidewire, with transactions, and compares all that a client sees.
func TestThroughSidewire(t *testing.T) {
	t.Run("mariadb", func(t *testing.T) { differential(t, servers.MariaDB(t), sidewire(t), setting(t, "DIFFERENTIAL", 1000)) })
	t.Run("mysql", func(t *testing.T) { differential(t, servers.MySQL(t), sidewire(t), setting(t, "DIFFERENTIAL", 500)) })
}

// sidewire starts one that serves rules from files beside its configuration.
func sidewire(t *testing.T) Through {
	return func(rules map[string]string) (string, error) {
		var names, databases strings.Builder
		for name, text := range rules {
			file := filepath.Join(t.TempDir(), name+".yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				return "", err
			}
			fmt.Fprintf(&names, "%s, ", name)
			fmt.Fprintf(&databases, "  - {name: %s, file: %q}\n", name, file)
		}
		addr := "127.0.0.1:" + strconv.Itoa(servers.Port(t))
		side := servers.StartSidewire(t, fmt.Sprintf("listeners:\n  - {name: sql, address: %q, mysql: {users: [{name: app, password: local}], databases: [%s]}}\ndatabases:\n%s",
			addr, strings.TrimSuffix(names.String(), ", "), databases.String()))
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("sidewire's log:\n%s", side.LogTail())
			}
		})
		return addr, nil
	}
}

func differential(t *testing.T, s *servers.MySQLServer, through Through, n uint64) {
	seed := setting(t, "DIFFERENTIAL_SEED", 1)
	r, err := NewRun(Server{Addr: s.Addr, User: s.Admin, Password: s.AdminKey}, fmt.Sprintf("diff_%d", seed), seed, through, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range n {
		if err := r.Step(); err != nil {
			t.Fatal(err)
		}
		if i%500 == 499 {
			if i%10_000 == 9_999 {
				t.Logf("%d: %d wrong, %d answers", i+1, len(r.Report.Wrong), r.Report.Answers)
			}
			if err := r.Checksum(); err != nil {
				t.Fatal(err)
			}
		}
		if len(r.Report.Wrong) > 20 {
			break
		}
	}
	if err := r.Checksum(); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + r.Report.String())
	if len(r.Report.Wrong) > 0 {
		t.Errorf("%d wrong answers, seed %d", len(r.Report.Wrong), seed)
		r.Reduce()
	}
	if uint64(r.Report.Scattered) < n/10 {
		t.Errorf("only %d answers came from several shards", r.Report.Scattered)
	}
}
