package scan

import (
	"strings"
	"testing"
)

func TestClasses(t *testing.T) {
	for _, c := range []struct {
		text  string
		class Class
		verb  Verb
		flags Flag
	}{
		{"select 1", Read, Select, 0},
		{" /* x */ SELECT a FROM t FOR UPDATE", Write, Select, Locking},
		{"select * from t lock in share mode", Write, Select, Locking},
		{"(select 1) union (select 2)", Read, Select, 0},
		{"select 1 into @x", Write, Select, IntoFile | UsesUserVar},
		{"select get_lock('a', 1)", Write, Select, AdvisoryLock},
		{"select @a := 1", Write, Select, UsesUserVar | SetsUserVar},
		{"select last_insert_id(), found_rows()", Read, Select, LastInsertID | FoundRows},
		{"select Row_Count (), connection_id(/**/), row_count, 'connection_id()'", Read, Select, RowCount | ConnectionID},
		{"select row_count from connection_id", Read, Select, 0},
		{"with c as (select 1) select * from c", Read, With, 0},
		{"select f(1)", Write, Select, Routine},
		{"select a from t where `my f` (a) in (1)", Write, Select, Routine},
		{"select next value for s", Write, Select, Routine},
		{"select nextval(s)", Write, Select, Routine},
		{"select cast(a as decimal(10, 2)), char(5), count(*), st_x(p) from t use index (i) join (select 1) d using (a) where a in (1) and (b)", Read, Select, 0},
		{"select * from json_table('[1]', '$[*]' columns (a int path '$')) j where 1 member of ('[1]')", Read, Select, 0},
		{"insert into t (a) values (f(1))", Write, Insert, 0},
		{"with c as (select 1) delete from t", Write, With, 0},
		{"insert into t values (1)", Write, Insert, 0},
		{"start transaction read only", Transaction, Start, ReadOnly},
		{"set transaction isolation level serializable", Transaction, Set, 0},
		{"set session transaction read only", Transaction, Set, 0},
		{"set names utf8mb4", Session, Set, 0},
		{"set @a = 1", Session, Set, UsesUserVar | SetsUserVar},
		{"release savepoint a", Transaction, Release, 0},
		{"create temporary table t (a int)", DDL, Create, Temporary},
		{"/*!40101 SET NAMES utf8 */", Session, Set, Versioned},
		{"select 1; select 2", Read, Select, Multi},
		{"select 1;", Read, Select, 0},
		{"-- nothing", Empty, NoVerb, 0},
		{"", Empty, NoVerb, 0},
		{"frobnicate", Unknown, NoVerb, 0},
		{"select ';' from t # ; x\n", Read, Select, 0},
		{"load data local infile 'x' into table t", Write, Load, LoadLocal},
	} {
		var r Result
		if err := r.Scan(c.text, 0, 0); err != nil {
			t.Errorf("%q: %v", c.text, err)
		}
		if r.Class != c.class || r.Verb != c.verb || r.Flags != c.flags {
			t.Errorf("%q: got %v %v %b, want %v %v %b", c.text, r.Class, r.Verb, r.Flags, c.class, c.verb, c.flags)
		}
	}
}

func TestDigestAndShape(t *testing.T) {
	scan := func(s string) (r Result) {
		if err := r.Scan(s, 0, 0); err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b := scan("SELECT  a FROM t WHERE id IN (1, 2,3)"), scan("select a from t /* c */ where id in ('x')")
	if a.Digest != b.Digest {
		t.Error("digests differ in literals, case, space and length of a list")
	}
	if a.Shape == b.Shape {
		t.Error("shapes of different texts are equal")
	}
	if x, y := scan("select 1 /* a */"), scan("select 234 /* bcd */"); x.Shape != y.Shape {
		t.Error("shapes differ in a literal and a comment")
	}
	if x, y := scan("select 1"), scan("select '1'"); x.Shape == y.Shape {
		t.Error("shapes do not tell a number from a text")
	}
}

func TestTokens(t *testing.T) {
	for _, c := range []struct {
		text, want string
		mode       Mode
	}{
		{"a.1b", "Word:a Op:. Word:1b", 0},
		{"`a``b`.c", "Quoted:`a``b` Op:. Word:c", 0},
		{"1.5e-3+.5", "Float:1.5e-3 Op:+ Decimal:.5", 0},
		{"x'4D' 0x4d b'1' 0b1 N'a'", "Hex:x'4D' Hex:0x4d Bit:b'1' Bit:0b1 String:N'a'", 0},
		{`'a\'b' "c""d"`, `String:'a\'b' String:"c""d"`, 0},
		{`'a\' "c"`, `String:'a\' Quoted:"c"`, NoBackslashEscapes | ANSIQuotes},
		{"a--1", "Word:a Op:- Op:- Integer:1", 0},
		{"a-- 1", "Word:a", 0},
		{"@a @@x @`b c`", "UserVar:@a SysVar:@@x UserVar:@`b c`", 0},
		{"'open", "Invalid:'open", 0},
	} {
		names := map[Kind]string{Word: "Word", Quoted: "Quoted", String: "String", Integer: "Integer", Decimal: "Decimal", Float: "Float", Hex: "Hex",
			Bit: "Bit", Param: "Param", UserVar: "UserVar", SysVar: "SysVar", Op: "Op", Invalid: "Invalid"}
		l := Lexer{Text: c.text, Mode: c.mode}
		var got []string
		for tok := l.Next(); tok.Kind != EOF; tok = l.Next() {
			got = append(got, names[tok.Kind]+":"+c.text[tok.Start:tok.End])
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s: got %s, want %s", c.text, g, c.want)
		}
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	text := "SELECT a, b FROM t WHERE id = 12 AND name = 'x' /* c */ ORDER BY a LIMIT 10"
	var r Result
	if n := testing.AllocsPerRun(100, func() { _ = r.Scan(text, 0, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzScan(f *testing.F) {
	for _, s := range []string{"select 1", "select 'a' 'b', `c` from t -- x\n; next", "/*!50000 a */ /* b", "x'zz' 0x 1.e1.2 @@@", "select ?, (?,?) # c"} {
		f.Add(s, byte(0))
	}
	f.Fuzz(func(t *testing.T, text string, mode byte) {
		var r Result
		err := r.Scan(text, 0, Mode(mode&3))
		if r.End < 0 || r.End > len(text) || r.Next < r.End || r.Next > len(text) {
			t.Fatalf("end %d, next %d of %d", r.End, r.Next, len(text))
		}
		last := 0
		for _, v := range r.Vars {
			if v.Start < last || v.End <= v.Start || v.End > len(text) {
				t.Fatalf("literal %v after %d", v, last)
			}
			last = v.End
		}
		if err == nil {
			Normalize(text, Mode(mode&3))
		}
	})
}
