package mysql

import (
	"slices"
	"strings"

	wire "github.com/sidewire/sidewire/protocols/mysql"
)

// tracking is what a client is to be told of changes of its session. sidewire itself has servers tell it everything, whatever the client wants to know.
type tracking struct {
	any                  bool // the client agreed to be told
	schema, state, gtids bool
	variables            string // names by commas, or *
}

// trackedByDefault are the variables in session_track_system_variables as servers come.
const trackedByDefault = "time_zone,autocommit,character_set_client,character_set_results,character_set_connection"

// tracked is what the session's client is told of what b says.
func (s *session) tracked(b *backend) tracking {
	if !s.caps.Has(wire.SessionTrack) {
		return tracking{}
	}
	t := tracking{any: true, schema: true, gtids: b.tellsGTIDs, variables: trackedByDefault}
	wishes := s.wishes
	if set := s.effect.set; set != nil && len(set.wishes) > 0 {
		wishes = append(slices.Clone(wishes), set.wishes...) // it is told of what it asks for at once
	}
	for _, w := range wishes {
		value := strings.ToLower(strings.Trim(w.value, "'\""))
		on := value == "1" || value == "on" || value == "true"
		switch w.name {
		case "session_track_schema":
			t.schema = on
		case "session_track_state_change":
			t.state = on
		case "session_track_gtids":
			t.gtids = value == "own_gtid" || value == "1"
		case "session_track_system_variables":
			t.variables = strings.ReplaceAll(value, " ", "")
		}
	}
	return t
}

// wish notes what a SET said of what the client is to be told, and has the server tell everything again.
func (s *session) wish(b *backend, wishes []setting) error {
	for _, w := range wishes {
		s.wishes = slices.DeleteFunc(s.wishes, func(x setting) bool { return x.name == w.name })
		if w.value != "" { // DEFAULT
			s.wishes = append(s.wishes, w)
		}
	}
	_, err := b.query(b.tracking())
	return err
}

func (t *tracking) shows(c wire.Change) bool {
	switch c.Kind {
	case wire.TrackSchema:
		return t.schema
	case wire.TrackState:
		return t.state
	case wire.TrackGTIDs:
		return t.gtids
	case wire.TrackVariable:
		if t.variables == "*" {
			return true
		}
		for name := range strings.SplitSeq(t.variables, ",") {
			if name == text(c.Name) {
				return true
			}
		}
		return false
	}
	return t.any // of its transactions a server tells those only who asked for it
}

// track notes the changes that an OK tells of, and leaves in it those that the client expects.
func (a *answer) track(ok *wire.OK, t tracking) error {
	var kept []byte
	for rest := ok.Track; len(rest) > 0; {
		c, next, err := wire.TrackNext(rest)
		if err != nil {
			return err
		}
		rest = next
		switch c.Kind {
		case wire.TrackSchema:
			a.schema, a.moved = string(c.Value), true
		case wire.TrackVariable:
			a.learnt = append(a.learnt, setting{string(c.Name), string(c.Value)})
			if text(c.Name) == "last_gtid" {
				a.gtid = string(c.Value)
			}
		case wire.TrackGTIDs:
			a.gtid = string(c.Value)
		case wire.TrackState:
			a.changed = true
		}
		if t.shows(c) {
			kept = wire.AppendTrack(kept, c)
		}
	}
	ok.Track = kept
	return nil
}
