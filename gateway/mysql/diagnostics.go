package mysql

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	wire "github.com/sidewire/sidewire/protocols/mysql"
	"github.com/sidewire/sidewire/sharding/scan"
)

// maxDiagnostics is how many warnings of a statement are kept, as max_error_count is a server's.
const maxDiagnostics = 64

// diagnostic is a row of SHOW WARNINGS.
type diagnostic struct{ level, code, message string }

// diagnostics are the warnings of the last statement on a virtual database. They are fetched from the shards at once, for
// the connections go on to serve others.
type diagnostics struct {
	list  []diagnostic
	count int // of all, kept or not
}

func (d *diagnostics) clear() { *d = diagnostics{list: d.list[:0]} }

// ofText are the warnings that a statement's text alone brings about: deprecated syntax, character sets and collations.
var ofText = map[string]bool{"1287": true, "1681": true, "3719": true, "3720": true, "3778": true}

// collect fetches the warnings that the last statement on b left: n of them. Those that other shards have told of already
// are left out where the text brings them about and, with once set, all of them: a read has the same constants everywhere.
func (s *session) collect(b *backend, n uint16, names *names, once bool) error {
	if n == 0 {
		return nil
	}
	told, err := b.warnings()
	if err != nil {
		return err
	}
	d := &s.warned
	known := slices.Clone(d.list)
	d.count += max(0, int(n)-len(told))
	for _, x := range told {
		x.message = names.message(x.message)
		if i := slices.Index(known, x); (once || ofText[x.code]) && i >= 0 {
			known = slices.Delete(known, i, i+1)
			continue
		}
		d.count++
		if len(d.list) < maxDiagnostics {
			d.list = append(d.list, x)
		}
	}
	return nil
}

// warnings fetches what the last statement on b left.
func (b *backend) warnings() ([]diagnostic, error) {
	rows, err := b.query("SHOW WARNINGS")
	if err != nil {
		return nil, err
	}
	list := make([]diagnostic, len(rows))
	for i, r := range rows {
		if len(r) != 3 {
			return nil, wire.ErrMalformed
		}
		list[i] = diagnostic{r[0], r[1], r[2]}
	}
	return list, nil
}

// failed notes the error that a statement on a virtual database ended with.
func (d *diagnostics) failed(e *wire.Error) {
	d.list = append(d.list[:0], diagnostic{"Error", itoa(e.Code), e.Message})
	d.count = 1
}

// packets is the number of warnings as packets have it.
func (d *diagnostics) packets() uint16 { return uint16(min(d.count, 1<<16-1)) }

// diagnose answers what asks for the warnings and errors of the statement before; served says that it did.
func (s *session) diagnose(sql string, seq byte) (served bool, err error) {
	var words []string
	l := scan.Lexer{Text: sql, Mode: s.mode}
	for t := l.Next(); t.Kind != scan.EOF && t.Kind != scan.Invalid; t = l.Next() {
		if w := strings.ToLower(sql[t.Start:t.End]); w != ";" {
			words = append(words, w)
		}
	}
	d := &s.warned
	list := d.list
	if slices.Contains(words, "errors") || slices.Contains(words, "@@error_count") {
		list = slices.DeleteFunc(slices.Clone(list), func(x diagnostic) bool { return x.level != "Error" })
	}
	switch question := strings.Join(words[:min(len(words), 2)], " "); {
	case question == "show warnings" || question == "show errors":
		if list, err = limited(list, words[2:]); err != nil {
			return true, err
		}
		return true, s.showDiagnostics(list, seq)
	case len(words) == 6 && strings.HasPrefix(strings.Join(words, ""), "showcount(*)"):
		name := "@@session." + strings.TrimSuffix(words[5], "s") + "_count"
		return true, s.count(name, len(list), seq)
	case len(words) == 2 && (question == "select @@warning_count" || question == "select @@error_count"):
		return true, s.count(words[1], len(list), seq)
	}
	return false, nil
}

// limited applies LIMIT n, LIMIT m, n and LIMIT n OFFSET m.
func limited(list []diagnostic, words []string) ([]diagnostic, error) {
	if len(words) == 0 {
		return list, nil
	}
	numbers := []int{}
	for _, w := range words[1:] {
		if n, err := strconv.Atoi(w); err == nil && n >= 0 {
			numbers = append(numbers, n)
		}
	}
	offset, n := 0, 0
	switch {
	case words[0] == "limit" && len(words) == 2 && len(numbers) == 1:
		n = numbers[0]
	case words[0] == "limit" && len(words) == 4 && len(numbers) == 2 && words[2] == ",":
		offset, n = numbers[0], numbers[1]
	case words[0] == "limit" && len(words) == 4 && len(numbers) == 2 && words[2] == "offset":
		n, offset = numbers[0], numbers[1]
	default:
		return nil, fault(codeNotSupported, stateSyntax, "sidewire: SHOW WARNINGS takes LIMIT and nothing else on a sharded database")
	}
	list = list[min(offset, len(list)):]
	return list[:min(n, len(list))], nil
}

func (s *session) showDiagnostics(list []diagnostic, seq byte) error {
	w := &resultWriter{s: s, seq: seq + 1, diagnoses: true}
	column := func(name string, t wire.FieldType, length uint32) []byte {
		c := wire.Column{Name: []byte(name), Type: t, Length: length, Collation: wire.CollationUTF8MB4, Flags: wire.FlagNotNull}
		if t == wire.TypeLong {
			c.Collation, c.Flags = wire.CollationBinary, wire.FlagNotNull|wire.FlagUnsigned|wire.FlagBinary
		}
		return wire.AppendColumn(nil, &c)
	}
	w.begin([][]byte{column("Level", wire.TypeVarString, 28), column("Code", wire.TypeLong, 4), column("Message", wire.TypeVarString, 2048)})
	for _, x := range list {
		row := wire.AppendLenencString(wire.AppendLenencString(nil, x.level), x.code)
		if err := w.row(wire.AppendLenencString(row, x.message)); err != nil {
			return err
		}
	}
	return w.end()
}

func (s *session) count(name string, n int, seq byte) error {
	w := &resultWriter{s: s, seq: seq + 1, diagnoses: true}
	w.begin([][]byte{wire.AppendColumn(nil, &wire.Column{Name: []byte(name), Type: wire.TypeLongLong, Length: 21, Collation: wire.CollationBinary, Flags: wire.FlagUnsigned | wire.FlagBinary})})
	if err := w.row(wire.AppendLenencString(nil, strconv.Itoa(n))); err != nil {
		return err
	}
	return w.end()
}

// joinInfo adds the numbers in the information texts of two parts of a statement: "Records: 2  Duplicates: 0  Warnings: 0".
func joinInfo(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	x, y := strings.Fields(a), strings.Fields(b)
	if len(x) != len(y) {
		return a
	}
	var out strings.Builder
	for i, w := range x {
		if i > 0 {
			out.WriteByte(' ')
			if strings.HasSuffix(w, ":") && digit(x[i-1]) {
				out.WriteByte(' ') // servers put two
			}
		}
		m, err1 := strconv.ParseUint(w, 10, 64)
		n, err2 := strconv.ParseUint(y[i], 10, 64)
		if errors.Join(err1, err2) == nil {
			w = strconv.FormatUint(m+n, 10)
		}
		out.WriteString(w)
	}
	return out.String()
}

func digit(s string) bool { return s[0] >= '0' && s[0] <= '9' }
