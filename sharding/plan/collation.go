package plan

import (
	"strings"
	"sync"

	"github.com/pingcap/tidb/pkg/parser/charset"
)

// unicodeSets and others are character sets whose collations servers know and the parser does not, MariaDB's above all.
// A name too many does no harm: the servers decide.
var (
	unicodeSets    = []string{"utf8mb4", "utf8mb3", "utf8", "ucs2", "utf16", "utf16le", "utf32"}
	otherSets      = []string{"latin1", "ascii", "latin2", "latin5", "latin7", "cp1250", "cp1251", "cp1256", "cp1257", "koi8r", "koi8u", "greek", "hebrew"}
	unicodeTongues = "general general_mysql500 unicode unicode_520 icelandic latvian romanian slovenian polish estonian spanish swedish turkish czech danish lithuanian " +
		"slovak spanish2 roman persian esperanto hungarian sinhala german2 croatian croatian_mysql561 vietnamese myanmar"
	otherTongues = "general swedish danish german1 german2 spanish turkish hungarian croatian estonian bulgarian ukrainian lithuanian polish czech greek hebrew"
)

// knowCollations tells the parser, once and before it parses anything, of the collations it lacks.
var knowCollations = sync.OnceFunc(func() {
	id := 1 << 20
	add := func(set, name string) {
		if c, err := charset.GetCollationByName(name); err == nil && c != nil {
			return
		}
		id++
		charset.AddCollation(&charset.Collation{ID: id, CharsetName: set, Name: name, Sortlen: 1})
	}
	family := func(sets []string, tongues string) {
		for _, set := range sets {
			if charset.CharacterSetInfos[set] == nil {
				charset.AddCharset(&charset.Charset{Name: set, DefaultCollation: set + "_general_ci", Collations: map[string]*charset.Collation{}, Maxlen: 4})
			}
			add(set, set+"_bin")
			add(set, set+"_nopad_bin")
			for _, t := range strings.Fields(tongues) {
				add(set, set+"_"+t+"_ci")
				add(set, set+"_"+t+"_nopad_ci")
				add(set, set+"_"+t+"_cs")
			}
		}
	}
	family(unicodeSets, unicodeTongues)
	family(otherSets, otherTongues)
	for _, set := range append([]string{""}, unicodeSets...) {
		for _, t := range append([]string{""}, strings.Fields(unicodeTongues)...) {
			for _, pad := range [...]string{"", "nopad_"} {
				for _, strength := range [...]string{"ai_ci", "ai_cs", "as_ci", "as_cs"} {
					name := strings.TrimPrefix(set+"_", "_") + "uca1400_" + strings.TrimPrefix(t+"_", "_") + pad + strength
					if set == "" {
						add("utf8mb4", name)
					} else {
						add(set, name)
					}
				}
			}
		}
	}
})
