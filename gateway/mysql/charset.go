package mysql

import (
	"strings"

	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// unicodeClient reports whether what the client sends is UTF-8, or bytes without a meaning: then equal texts are equal bytes
// for a sharding algorithm too, whatever client wrote them.
func (s *session) unicodeClient() bool {
	charset := s.settings.value("character_set_client")
	if charset == "" {
		charset, _, _ = strings.Cut(s.settings.value(nameNames), " ")
	}
	switch charset = strings.ToLower(strings.Trim(charset, "'\"")); charset {
	case "", "default":
		return unicodeCollation(s.collation)
	case "utf8", "utf8mb3", "utf8mb4", "ascii", "binary":
		return true
	}
	return false
}

// unicodeCollation reports whether a collation of a handshake is one of utf8mb4, utf8mb3, ascii or binary, by the numbers
// that MySQL and MariaDB give them.
func unicodeCollation(id uint16) bool {
	switch {
	case id == 11, id == 65: // ascii
	case id == 33, id == 45, id == 46, id == 63, id == 76, id == 83:
	case id >= 192 && id <= 247 && id != 216 && id != 217:
	case id >= 255 && id <= 323: // utf8mb4 of MySQL 8
	case id == 1057, id == 1069, id == 1070: // without padding
	case id >= 2048 && id < 2560: // uca1400
	default:
		return false
	}
	return true
}

// legible refuses what a planner would read otherwise than the servers: text beyond ASCII in another character set than
// UTF-8. Its bytes would lead to other shards than the same text from another client, and may hide quotes.
func (s *session) legible(sql string, params []wire.Param) error {
	plain := ascii(sql)
	for i := range params {
		switch params[i].Type {
		case wire.TypeVarString, wire.TypeString, wire.TypeVarchar:
			plain = plain && ascii(text(params[i].Data))
		}
	}
	if plain || s.unicodeClient() {
		return nil
	}
	return fault(codeNotSupported, stateSyntax, "sidewire: a sharded database takes text beyond ASCII in UTF-8 only; connect with utf8mb4, or SET NAMES utf8mb4")
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// unlimited refuses to merge where each server would cut its own rows off.
func (s *session) unlimited() error {
	switch v := strings.ToLower(s.settings.value("sql_select_limit")); v {
	case "", "default", "18446744073709551615":
		return nil
	default:
		return fault(codeNotSupported, stateSyntax, "sidewire: sql_select_limit is not served over several shards of a sharded database; write LIMIT into the statement")
	}
}
