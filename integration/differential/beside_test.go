package differential

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sidewire/sidewire/integration/servers"
	"github.com/sidewire/sidewire/protocols/mysql"
)

// TestBeside asks the statements of testdata/beside*.txt of one server and, through a sidewire, of shards: each is answered
// alike, fails alike or is refused, and never answered otherwise. A file's first case is the rule file, whose %s stand for
// the server's address; a case is a statement, a line of four dashes, what came of it, an empty line. A line before the
// statement such as "execute long:5 string:x NULL" has it prepared, and executed with these parameters; "command
// 09" is a command's bytes. REWRITE=1 notes
// what came of each; BESIDE=mysql asks MySQL, to look for wrong answers: what it fails at is its own.
func TestBeside(t *testing.T) {
	files, err := filepath.Glob("testdata/beside*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { beside(t, f) })
	}
}

func beside(t *testing.T, file string) {
	src, err := os.ReadFile(file)
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
	if err := os.WriteFile(file, append(bytes.TrimRight(out.Bytes(), "\n"), '\n'), 0o644); err != nil {
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
	if os.Getenv("BESIDE") == "mysql" {
		db = servers.MySQL(t)
	}
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

// put sends a case's statement as a text or prepared, or a command as it stands.
func (c *client) put(statement string) (*Result, error) {
	if digits, ok := strings.CutPrefix(statement, "command "); ok {
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, err
		}
		if err := c.command(b[0], b[1:]...); err != nil {
			return nil, err
		}
		return c.result()
	}
	list, ok := strings.CutPrefix(statement, "execute")
	if !ok {
		return c.query(statement)
	}
	list, sql, _ := strings.Cut(list, "\n")
	var params []mysql.Param
	for _, a := range strings.Fields(list) {
		p, err := paramOf(a)
		if err != nil {
			return nil, err
		}
		params = append(params, p)
	}
	return c.executeWith(sql, params)
}

// paramTypes are the types of parameters by their names in the files.
var paramTypes = map[string]mysql.FieldType{"tiny": mysql.TypeTiny, "short": mysql.TypeShort, "year": mysql.TypeYear, "int24": mysql.TypeInt24,
	"long": mysql.TypeLong, "longlong": mysql.TypeLongLong, "float": mysql.TypeFloat, "double": mysql.TypeDouble, "decimal": mysql.TypeDecimal,
	"newdecimal": mysql.TypeNewDecimal, "date": mysql.TypeDate, "datetime": mysql.TypeDatetime, "timestamp": mysql.TypeTimestamp,
	"time": mysql.TypeTime, "varchar": mysql.TypeVarchar, "varstring": mysql.TypeVarString, "string": mysql.TypeString, "enum": mysql.TypeEnum,
	"set": mysql.TypeSet, "bit": mysql.TypeBit, "blob": mysql.TypeBlob, "tinyblob": mysql.TypeTinyBlob, "longblob": mysql.TypeLongBlob,
	"json": mysql.TypeJSON}

// paramOf reads a parameter such as "long:5", "ulong:5", "blob:x" or "datetime:ea070102030405", whose bytes are given in
// hexadecimal digits. An underscore stands for a space.
func paramOf(s string) (p mysql.Param, err error) {
	if s == "NULL" {
		p.Type = mysql.TypeNull
		return p, nil
	}
	name, text, _ := strings.Cut(s, ":")
	typ, ok := paramTypes[name]
	if !ok {
		typ, p.Unsigned = paramTypes[strings.TrimPrefix(name, "u")], true
	}
	p.Type = typ
	switch n := mysql.FixedLen(typ); {
	case typ == mysql.TypeFloat:
		f, e := strconv.ParseFloat(text, 32)
		p.Data, err = binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(f))), e
	case typ == mysql.TypeDouble:
		f, e := strconv.ParseFloat(text, 64)
		p.Data, err = binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)), e
	case n > 0 && p.Unsigned:
		u, e := strconv.ParseUint(text, 10, 64)
		p.Data, err = binary.LittleEndian.AppendUint64(nil, u)[:n], e
	case n > 0:
		i, e := strconv.ParseInt(text, 10, 64)
		p.Data, err = binary.LittleEndian.AppendUint64(nil, uint64(i))[:n], e
	case typ == mysql.TypeDate || typ == mysql.TypeDatetime || typ == mysql.TypeTimestamp || typ == mysql.TypeTime:
		p.Data, err = hex.DecodeString(text)
	default:
		p.Data = []byte(strings.ReplaceAll(text, "_", " "))
	}
	return p, err
}

// ask runs a statement on the shards and, unless they refuse it, on the one server, and says what came of it.
func (p *pair) ask(sql string) string {
	got, gerr := p.shards.put(sql)
	var e *mysql.Error
	if errors.As(gerr, &e) && strings.HasPrefix(e.Message, "sidewire: ") {
		return fmt.Sprintf("refused: %d: %s", e.Code, strings.TrimPrefix(e.Message, "sidewire: "))
	}
	want, werr := p.whole.put(sql)
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
	st := &Statement{Order: Unordered, Prepared: strings.HasPrefix(sql, "execute")}
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
