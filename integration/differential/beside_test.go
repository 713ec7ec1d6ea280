package differential

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sidewire/sidewire/integration/servers"
	"github.com/sidewire/sidewire/protocols/mysql"
)

const besideFile = "testdata/beside.txt"

// TestBeside asks the statements of testdata/beside.txt of one server and, through a sidewire, of shards: each is answered
// alike, fails alike or is refused, and never answered otherwise. The first case is the rule file, whose %s stand for the
// server's address; a case is a statement, a line of four dashes, what came of it, an empty line. REWRITE=1 notes what did.
func TestBeside(t *testing.T) {
	src, err := os.ReadFile(besideFile)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var p *pair
	for i, block := range strings.Split(strings.TrimRight(string(src), "\n"), "\n\n") {
		head, want, ok := strings.Cut(block, "\n----\n")
		if !ok {
			fmt.Fprintf(&out, "%s\n\n", block) // a comment
			continue
		}
		comment, statement := besideComment(head)
		got := "ok"
		if p == nil {
			p = openPair(t, statement)
		} else {
			got = p.ask(statement)
		}
		if strings.HasPrefix(got, "WRONG") || got != want && os.Getenv("REWRITE") == "" {
			t.Errorf("case %d: %s\n--- got\n%s\n--- want\n%s", i+1, statement, got, want)
		}
		fmt.Fprintf(&out, "%s%s\n----\n%s\n\n", comment, statement, got)
	}
	if os.Getenv("REWRITE") == "" {
		return
	}
	if err := os.WriteFile(besideFile, bytes.TrimRight(out.Bytes(), "\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func besideComment(head string) (comment, statement string) {
	for strings.HasPrefix(head, "#") {
		line, rest, _ := strings.Cut(head, "\n")
		comment, head = comment+line+"\n", rest
	}
	return comment, head
}

// pair is one server and the shards beside it.
type pair struct{ whole, shards *client }

func openPair(t *testing.T, rules string) *pair {
	db := servers.MariaDB(t)
	srv := Server{Addr: db.Addr, User: db.Admin, Password: db.AdminKey}
	rules = strings.ReplaceAll(rules, "%s", db.Addr)
	s, err := Open(srv, "beside", rules)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	admin, err := dial(srv.Addr, srv.User, srv.Password, "")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.close()
	if err := recreate(admin, "beside"); err != nil {
		t.Fatal(err)
	}
	addr, err := sidewire(t)(map[string]string{"beside": rules})
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{}
	if p.whole, err = dial(srv.Addr, srv.User, srv.Password, "beside"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.whole.close)
	if p.shards, err = dial(addr, "app", "local", "beside"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.shards.close)
	return p
}

// ask runs a statement on the shards and, unless they refuse it, on the one server, and says what came of it.
func (p *pair) ask(sql string) string {
	got, gerr := p.shards.query(sql)
	var e *mysql.Error
	if errors.As(gerr, &e) && strings.HasPrefix(e.Message, "sidewire: ") {
		return fmt.Sprintf("refused: %d: %s", e.Code, strings.TrimPrefix(e.Message, "sidewire: "))
	}
	want, werr := p.whole.query(sql)
	switch {
	case gerr != nil && werr != nil && code(gerr) == code(werr):
		return fmt.Sprintf("the same error: %d", code(gerr))
	case gerr != nil || werr != nil:
		return fmt.Sprintf("WRONG: %v on the shards, %v on one server", gerr, werr)
	case want.Columns == nil:
		if want.Affected != got.Affected || want.Warnings != got.Warnings || want.InsertID != got.InsertID {
			return fmt.Sprintf("WRONG: %d rows changed (%d warnings, id %d) on the shards, %d (%d, %d) on one server",
				got.Affected, got.Warnings, got.InsertID, want.Affected, want.Warnings, want.InsertID)
		}
		return fmt.Sprintf("the same: %d changed", want.Affected)
	}
	st := &Statement{Order: Unordered}
	if strings.Contains(strings.ToUpper(sql), "ORDER BY") {
		st.Order = Total
	}
	if d := Compare(st, want, got, nil); d != "" {
		return "WRONG: " + strings.ReplaceAll(d, "\n", " ")
	}
	if (want.Warnings == 0) != (got.Warnings == 0) || !slices.Equal(headings(want), headings(got)) {
		return fmt.Sprintf("WRONG: %d warnings, %v on the shards, %d, %v on one server", got.Warnings, headings(got), want.Warnings, headings(want))
	}
	return fmt.Sprintf("the same: %d rows", len(want.Rows))
}

func headings(r *Result) (out []string) {
	for _, c := range r.Columns {
		out = append(out, c.Name)
	}
	return out
}
