package mysql

import (
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// Clients that agreed to query attributes get server connections that did, so that what they send passes as it is. Where
// a server has none (MariaDB, MySQL before 8.0.23, several shards) they are left out, as a client does that meets such a
// server.

// request is the packet that asks a server for a statement: what came from the client when it may pass as it is, else sql
// in a packet of its own.
func (s *session) request(b *backend, raw []byte, sql string) []byte {
	attributes, named := s.attributes, b.caps.Has(wire.QueryAttributes)
	if raw != nil && named == s.caps.Has(wire.QueryAttributes) {
		return raw
	}
	s.scratch = append(s.scratch[:0], 0, 0, 0, 0, byte(wire.ComQuery))
	if named {
		if attributes == nil {
			attributes = wire.NoAttributes
		}
		s.scratch = append(s.scratch, attributes...)
	}
	s.scratch = append(s.scratch, sql...)
	return frame(s.scratch)
}

// named reads an execution that may come with attributes. Types that were given before hold on.
func (p *prepared) named(body []byte) (*wire.NamedExecute, error) {
	x, err := wire.DecodeNamedExecute(body, p.params)
	if err != nil {
		return nil, err
	}
	switch {
	case x.NewTypes:
		p.names, p.count = append(p.names[:0], x.Named...), x.Count
	case x.Count > 0 && x.Count != p.count:
		return nil, fault(codeWrongArguments, stateGeneral, "Incorrect arguments to mysqld_stmt_execute")
	default:
		x.Named = p.names
	}
	return &x, nil
}

// isSent reports whether a parameter came by SEND_LONG_DATA.
func (p *prepared) isSent(i int) bool {
	return p.sent[i] || p.sharded != nil && p.sharded.long[i] != nil
}

// namedExecution is execution on a connection with attributes.
func (s *session) namedExecution(k *kept, p *prepared, x wire.NamedExecute) []byte {
	x.ID = k.id
	if x.Count > p.params || x.Count > 0 && k.typed != p {
		x.NewTypes = true
	}
	k.typed = p
	s.scratch = append(s.scratch[:0], 0, 0, 0, 0)
	s.scratch = wire.AppendNamedExecute(s.scratch, &x)
	return frame(s.scratch)
}
