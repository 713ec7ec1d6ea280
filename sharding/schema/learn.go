package schema

import (
	"fmt"
	"strings"
)

// Queries returns the statements that ask one server for the structure of one physical database, in the order Learn
// wants their rows.
func Queries(database string) [2]string {
	lit := "'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(database) + "'"
	return [2]string{
		"SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, COALESCE(COLLATION_NAME, ''), IS_NULLABLE," +
			" CONCAT(EXTRA, IF(LOWER(COLUMN_DEFAULT) LIKE 'current_timestamp%' OR LOWER(COLUMN_DEFAULT) LIKE '%now(%', ' current_timestamp', ''))" +
			" FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = " + lit + " ORDER BY TABLE_NAME, ORDINAL_POSITION",
		"SELECT TABLE_NAME, INDEX_NAME, IF(SUB_PART IS NULL, COLUMN_NAME, CONCAT(COLUMN_NAME, '(', SUB_PART, ')')) FROM information_schema.STATISTICS WHERE NON_UNIQUE = 0 AND TABLE_SCHEMA = " + lit +
			" ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX",
	}
}

// Physical is the structure of one physical database, by lower-case physical table name.
type Physical map[string]*Table

// Learn reads the rows that Queries returned, every value as text, NULL as the empty string.
func Learn(columns, keys [][]string) (Physical, error) {
	p := Physical{}
	for _, r := range columns {
		if len(r) != 7 {
			return nil, fmt.Errorf("reading columns: %d values in a row, expected 7", len(r))
		}
		t := p[strings.ToLower(r[0])]
		if t == nil {
			t = &Table{Name: r[0]}
			p[strings.ToLower(r[0])] = t
		}
		extra := strings.ToLower(r[6])
		t.Columns = append(t.Columns, Column{
			Name: r[1], Class: classOf(r[2]), Type: r[3], Unsigned: strings.Contains(r[3], "unsigned"), Collation: r[4],
			Nullable: r[5] == "YES", AutoIncrement: strings.Contains(extra, "auto_increment"),
			Generated: strings.Contains(strings.ReplaceAll(extra, "default_generated", ""), "generated"),
			Stamped:   strings.Contains(extra, "current_timestamp"),
		})
	}
	last := ""
	for _, r := range keys {
		if len(r) != 3 {
			return nil, fmt.Errorf("reading keys: %d values in a row, expected 3", len(r))
		}
		t := p[strings.ToLower(r[0])]
		if t == nil {
			continue
		}
		if id := r[0] + "\x00" + r[1]; id != last {
			last = id
			t.Unique = append(t.Unique, nil)
		}
		i := len(t.Unique) - 1
		t.Unique[i] = append(t.Unique[i], strings.ToLower(r[2]))
	}
	return p, nil
}

func classOf(dataType string) Class {
	switch strings.ToLower(dataType) {
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint", "year":
		return Integer
	case "decimal", "numeric":
		return Decimal
	case "float", "double", "real":
		return Float
	case "char", "varchar", "tinytext", "text", "mediumtext", "longtext":
		return Text
	case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
		return Binary
	case "date":
		return Date
	case "datetime", "timestamp":
		return Datetime
	case "time":
		return Time
	case "enum", "set":
		return Enum
	}
	return Other
}
