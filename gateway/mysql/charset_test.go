package mysql

import (
	"testing"

	wire "github.com/sidewire/sidewire/protocols/mysql"
)

func TestOnlyUnicodeReachesThePlanner(t *testing.T) {
	for _, c := range []struct {
		collation uint16
		set       []setting
		text      string
		refused   bool
	}{
		{45, nil, "SELECT 'é'", false},
		{255, nil, "SELECT 'é'", false},
		{8, nil, "SELECT 'e'", false},        // latin1, but ASCII
		{8, nil, "SELECT '\xe9'", true},      // latin1
		{28, nil, "SELECT '\xb1\x5c'", true}, // gbk: the second byte is no backslash
		{8, []setting{{nameNames, "utf8mb4 COLLATE utf8mb4_bin"}}, "SELECT 'é'", false},
		{45, []setting{{nameNames, "sjis"}}, "SELECT '\x95\x5c'", true},
		{45, []setting{{"character_set_client", "'big5'"}}, "SELECT '\xa4\x5c'", true},
		{45, []setting{{nameNames, "latin1"}, {"character_set_client", "utf8mb4"}}, "SELECT 'é'", false},
	} {
		s := &session{collation: c.collation, settings: noSettings.with(c.set)}
		err := s.legible(c.text, nil)
		if (err != nil) != c.refused {
			t.Errorf("collation %d, %v, %q: %v", c.collation, c.set, c.text, err)
		}
		p := []wire.Param{{ParamType: wire.ParamType{Type: wire.TypeVarString}, Data: []byte(c.text)}}
		if perr := s.legible("SELECT ?", p); (perr != nil) != c.refused {
			t.Errorf("collation %d, %v, parameter %q: %v", c.collation, c.set, c.text, perr)
		}
	}
}
