package mysql

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sidewire/sidewire/integration/servers"
)

// A point select allocates nothing, as text and prepared: what a statement leaves behind, a collection must find again.
func TestPointSelectAllocatesNothing(t *testing.T) {
	w := front(t, servers.MariaDB(t), layout{probes: "60s"})
	c := w.session(t, "")
	p, err := c.PrepareContext(t.Context(), "SELECT 1 + ?")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for name, ask := range map[string]func() error{
		"text":     func() error { return c.QueryRowContext(t.Context(), "SELECT 1 + 1").Scan(new(int)) },
		"prepared": func() error { return p.QueryRowContext(t.Context(), 1).Scan(new(int)) },
	} {
		const n = 8000
		least := math.MaxFloat64
		for range 2 { // what happens beside, the look at the figures above all (2,000 to 3,500), only adds
			before := mallocs(t, w.side)
			for range n {
				if err := ask(); err != nil {
					t.Fatal(err)
				}
			}
			least = min(least, (mallocs(t, w.side)-before)/n)
		}
		if least > 0.8 {
			t.Errorf("%s: %.2f allocations a select", name, least)
		}
	}
}

// mallocs is how often a sidewire allocated so far.
func mallocs(t *testing.T, side *servers.Sidewire) float64 {
	t.Helper()
	page, err := side.Get(deadline(t, 10*time.Second), "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(page) {
		if figure, ok := strings.CutPrefix(line, "go_memstats_mallocs_total "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(figure), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no figure for allocations")
	return 0
}
