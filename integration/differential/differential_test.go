package differential

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/sidewire/sidewire/integration/servers"
)

// TestDifferential runs generated statements on one unsharded server and on 4 and 10 shards. DIFFERENTIAL says how many
// (2,000 by default), DIFFERENTIAL_SEED from which seed, DIFFERENTIAL_ADDR on a server that already runs (user root, no
// password) instead of a private one.
func TestDifferential(t *testing.T) {
	n, seed := 2000, uint64(1)
	if s := os.Getenv("DIFFERENTIAL"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	if s := os.Getenv("DIFFERENTIAL_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	srv := Server{Addr: os.Getenv("DIFFERENTIAL_ADDR"), User: "root"}
	if srv.Addr == "" {
		s := servers.MariaDB(t)
		srv = Server{Addr: s.Addr, User: s.Admin, Password: s.AdminKey}
	}
	r, err := NewRun(srv, fmt.Sprintf("diff_%d", seed), seed, os.Stderr)
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
	}
	if r.Report.Scattered < n/10 {
		t.Errorf("only %d answers came from several shards", r.Report.Scattered)
	}
}
