package plan

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sidewire/sidewire/sharding/schema"
	"github.com/sidewire/sidewire/sharding/value"
)

// A server that is not strict stores another value than the one it was given where that does not fit: cut, rounded,
// brought into range. The row would then lie where nobody looks for it, so that only values are taken that any server
// stores as they are.

// convert makes of an inserted value what the column will hold.
func (k *insertKey) convert(v value.Value) (value.Value, *Refusal) {
	if v.IsNull() {
		return v, &Refusal{CodeBadNull, "23000", "sharding column " + k.column + " cannot be null", ""}
	}
	if k.schema == nil {
		w, fate := convert(v, nil, k.strategy)
		if fate != found {
			return v, unsupported("a value of this kind for sharding column "+k.column, "give a whole number or a string")
		}
		return w, nil
	}
	switch k.schema.Class {
	case schema.Text, schema.Binary:
		if s, ok := characters(v); ok {
			return k.text(s)
		}
	case schema.Integer:
		if w, fate := toInteger(v, k.schema); fate == found {
			return k.integer(w)
		}
	default:
		if w, fate := convert(v, k.schema, k.strategy); fate == found && calendar(w.Str) {
			return w, nil
		}
	}
	return v, unsupported(fmt.Sprintf("value %s for sharding column %s of type %s", v.AppendLiteral(nil), k.column, k.schema.Type),
		"give the value in the column's own type")
}

// characters returns what a text column makes of a value; false where servers would write it in another way.
func characters(v value.Value) (string, bool) {
	switch v.Kind {
	case value.String, value.Bytes, value.Int, value.Uint:
		return v.Text(), true
	case value.Decimal:
		s := strings.TrimPrefix(v.Str, "-")
		whole, fraction, point := strings.Cut(s, ".")
		plain := whole != "" && (whole[0] != '0' || whole == "0") && (!point || fraction != "") && strings.Trim(s, "0.") != ""
		return v.Str, plain
	}
	return "", false
}

func (k *insertKey) text(s string) (value.Value, *Refusal) {
	typ, width := columnType(k.schema.Type)
	switch {
	case typ == "char":
		s = strings.TrimRight(s, " ") // as the column does
	case typ == "binary" && len(s) < width:
		s += strings.Repeat("\x00", width-len(s))
	}
	n := len(s)
	if k.schema.Class == schema.Text {
		n = utf8.RuneCountInString(s)
		if !holds(k.schema.Collation, s) {
			return value.Value{}, unsupported("characters that the character set of sharding column "+k.column+" may not have", "use utf8mb4")
		}
	}
	if width >= 0 && n > width {
		return value.Value{}, &Refusal{CodeTooLong, "22001", "Data too long for sharding column '" + k.column + "'", ""}
	}
	return value.NewString(s), nil
}

// holds reports that the character set of a collation surely has the characters of a text.
func holds(collation, s string) bool {
	bytes := 1
	switch {
	case strings.HasPrefix(collation, "utf8mb4_"), collation == "":
		bytes = 4
	case strings.HasPrefix(collation, "utf8"):
		bytes = 3
	}
	for _, r := range s {
		if utf8.RuneLen(r) > bytes {
			return false
		}
	}
	return true
}

// columnType takes a type such as varchar(20) apart. width is -1 if none is said.
func columnType(typ string) (name string, width int) {
	name, rest, sized := strings.Cut(strings.ToLower(typ), "(")
	name, _, _ = strings.Cut(name, " ")
	switch name {
	case "tinytext", "tinyblob":
		return name, math.MaxUint8
	case "text", "blob":
		return name, math.MaxUint16
	}
	if !sized {
		return name, -1
	}
	for _, c := range rest {
		if c < '0' || c > '9' || width > math.MaxInt32 {
			break
		}
		width = 10*width + int(c-'0')
	}
	return name, width
}

var integerBits = map[string]int{"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32}

func (k *insertKey) integer(v value.Value) (value.Value, *Refusal) {
	typ, _ := columnType(k.schema.Type)
	bits, narrow := integerBits[typ]
	fits := true
	switch {
	case typ != "bigint" && !narrow: // YEAR has had its look; in a plan without a server nothing is known
	case k.schema.Unsigned:
		fits = v.Kind == value.Uint && !narrow || v.Kind == value.Int && v.Int64() >= 0 && (!narrow || v.Int64()>>bits == 0)
	default:
		fits = v.Kind == value.Int && (!narrow || v.Int64()>>(bits-1) == 0 || v.Int64()>>(bits-1) == -1)
	}
	if !fits {
		return v, &Refusal{CodeOutOfRange, "22003", "Out of range value for sharding column '" + k.column + "'", ""}
	}
	return v, nil
}

// year reports that a number is a YEAR as it is stored; others, such as 99, mean one.
func year(v value.Value) bool { return v.Kind == value.Int && v.Int64() >= 1901 && v.Int64() <= 2155 }

// calendar reports that a date, with a time of day or without, is one.
func calendar(s string) bool {
	layout := time.DateTime
	if len(s) == len(time.DateOnly) {
		layout = time.DateOnly
	}
	_, err := time.Parse(layout, s)
	return err == nil
}
