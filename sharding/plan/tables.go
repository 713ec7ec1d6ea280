package plan

import (
	"fmt"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/mysql"

	"github.com/sidewire/sidewire/sharding/scan"
	"github.com/sidewire/sidewire/sharding/schema"
)

// Tables reads the structure of tables from CREATE TABLE statements, by lower-case name, for planning without a server.
// Text columns without a collation of their own or of their table have none that is known.
func Tables(src string) (map[string]*schema.Table, error) {
	out := map[string]*schema.Table{}
	var sc scan.Result
	for src != "" {
		if err := sc.Scan(src, 0, 0); err != nil {
			return nil, err
		}
		text := src[:sc.End]
		src = src[sc.Next:]
		if sc.Flags&scan.Multi == 0 {
			src = ""
		}
		if sc.Verb != scan.Create {
			continue
		}
		stmt, err := parse(text, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %s", firstLine(text), firstLine(err.Error()))
		}
		if c, ok := stmt.(*ast.CreateTableStmt); ok {
			out[c.Table.Name.L] = tableOf(c)
		}
	}
	return out, nil
}

func tableOf(c *ast.CreateTableStmt) *schema.Table {
	t := &schema.Table{Name: c.Table.Name.O}
	collation := ""
	for _, o := range c.Options {
		if o.Tp == ast.TableOptionCollate {
			collation = o.StrValue
		}
	}
	for _, d := range c.Cols {
		col := schema.Column{Name: d.Name.Name.O, Type: d.Tp.InfoSchemaStr(), Class: classOf(d.Tp.GetType(), d.Tp.GetCharset()),
			Unsigned: mysql.HasUnsignedFlag(d.Tp.GetFlag()), Nullable: true}
		if col.Class == schema.Text {
			if col.Collation = d.Tp.GetCollate(); col.Collation == "" {
				col.Collation = collation
			}
		}
		for _, o := range d.Options {
			switch o.Tp {
			case ast.ColumnOptionAutoIncrement:
				col.AutoIncrement = true
			case ast.ColumnOptionNotNull:
				col.Nullable = false
			case ast.ColumnOptionCollate:
				col.Collation = o.StrValue
			case ast.ColumnOptionDefaultValue, ast.ColumnOptionOnUpdate:
				v := &clockCalls{}
				o.Expr.Accept(v)
				col.Stamped = col.Stamped || v.found
			case ast.ColumnOptionGenerated:
				col.Generated = true
			case ast.ColumnOptionPrimaryKey, ast.ColumnOptionUniqKey:
				t.Unique = append(t.Unique, []string{strings.ToLower(col.Name)})
			}
		}
		t.Columns = append(t.Columns, col)
	}
	for _, k := range c.Constraints {
		switch k.Tp {
		case ast.ConstraintPrimaryKey, ast.ConstraintUniq, ast.ConstraintUniqKey, ast.ConstraintUniqIndex:
			var cols []string
			for _, p := range k.Keys {
				if p.Column != nil {
					cols = append(cols, p.Column.Name.L)
				}
			}
			t.Unique = append(t.Unique, cols)
		}
	}
	return t
}

func classOf(typ byte, charset string) schema.Class {
	switch typ {
	case mysql.TypeTiny, mysql.TypeShort, mysql.TypeInt24, mysql.TypeLong, mysql.TypeLonglong, mysql.TypeYear:
		return schema.Integer
	case mysql.TypeNewDecimal:
		return schema.Decimal
	case mysql.TypeFloat, mysql.TypeDouble:
		return schema.Float
	case mysql.TypeDate:
		return schema.Date
	case mysql.TypeDatetime, mysql.TypeTimestamp:
		return schema.Datetime
	case mysql.TypeDuration:
		return schema.Time
	case mysql.TypeEnum, mysql.TypeSet:
		return schema.Enum
	case mysql.TypeVarchar, mysql.TypeVarString, mysql.TypeString, mysql.TypeBlob, mysql.TypeTinyBlob, mysql.TypeMediumBlob, mysql.TypeLongBlob:
		if charset == "binary" {
			return schema.Binary
		}
		return schema.Text
	}
	return schema.Other
}
