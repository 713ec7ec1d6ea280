package sharding

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeHasCases finds, for each row of README's table of what several shards answer and refuse, its cases in
// testdata/readme.txt: under "# row" such as are answered, under "# row, refused" such as are refused, and no others.
func TestReadmeHasCases(t *testing.T) {
	sections := readmeSections(t)
	for _, row := range readmeRows(t) {
		if sections[row[0]].answered == 0 {
			t.Errorf("README says what is answered of %q; readme.txt shows none", row[0])
		}
		if n := sections[row[0]].refused; n > 0 {
			t.Errorf("%d cases of %q are refused, under a heading of what is answered", n, row[0])
		}
		refused := sections[row[0]+", refused"]
		if row[2] != "" && refused.refused == 0 {
			t.Errorf("README says what is refused of %q; readme.txt shows none", row[0])
		}
		if refused.answered > 0 {
			t.Errorf("%d cases of %q are answered, under a heading of what is refused", refused.answered, row[0])
		}
	}
}

// readmeRows are the cells of the table's rows.
func readmeRows(t *testing.T) (rows [][]string) {
	src, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(src), "| over several shards | answered | refused |\n|---|---|---|\n")
	if !ok {
		t.Fatal("README has no table of what several shards answer")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 3 {
			t.Fatalf("a row of %d cells: %s", len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

type counts struct{ answered, refused int }

// readmeSections counts the cases under each heading: what comes before its colon.
func readmeSections(t *testing.T) map[string]counts {
	src, err := os.ReadFile("testdata/readme.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]counts{}
	heading := ""
	for _, block := range strings.Split(string(src), "\n\n") {
		block = strings.TrimLeft(block, "\n")
		if title, ok := strings.CutPrefix(block, "# "); ok {
			heading, _, _ = strings.Cut(title, ":")
			continue
		}
		if !strings.HasPrefix(block, "plan") {
			continue
		}
		c := out[heading]
		if strings.Contains(block, "\nrefused: ") {
			c.refused++
		} else {
			c.answered++
		}
		out[heading] = c
	}
	return out
}
