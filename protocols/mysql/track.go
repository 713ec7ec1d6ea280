package mysql

import "fmt"

// TrackKind says which part of the session a change is about.
type TrackKind byte

// The kinds of session state change.
const (
	TrackVariable        TrackKind = 0
	TrackSchema          TrackKind = 1
	TrackState           TrackKind = 2
	TrackGTIDs           TrackKind = 3
	TrackCharacteristics TrackKind = 4
	TrackTransaction     TrackKind = 5
)

// Change is one session state change. Name is set for variables only. Both
// fields borrow from the packet.
type Change struct {
	Kind  TrackKind
	Name  []byte
	Value []byte
}

// TrackNext reads the first change of track and returns what follows it.
func TrackNext(track []byte) (c Change, rest []byte, err error) {
	r := reader{b: track}
	c.Kind = TrackKind(r.u8())
	body := r.lenencBytes()
	if r.bad {
		return Change{}, nil, fmt.Errorf("reading session state: %w", ErrMalformed)
	}
	b := reader{b: body}
	switch c.Kind {
	case TrackVariable:
		c.Name = b.lenencBytes()
		c.Value = b.lenencBytes()
	case TrackState:
		c.Value = b.rest() // "1", without a length of its own
	case TrackGTIDs:
		b.u8() // encoding specification, 0 is the only one
		c.Value = b.lenencBytes()
	default:
		c.Value = b.lenencBytes()
	}
	if b.bad {
		return Change{}, nil, fmt.Errorf("reading session state: %w: kind %d", ErrMalformed, c.Kind)
	}
	return c, r.b, nil
}

// AppendTrack appends one change in the form of an OK packet's session state.
func AppendTrack(dst []byte, c Change) []byte {
	var body []byte
	switch c.Kind {
	case TrackVariable:
		body = AppendLenencBytes(nil, c.Name)
	case TrackGTIDs:
		body = []byte{0}
	}
	if c.Kind == TrackState {
		body = c.Value
	} else {
		body = AppendLenencBytes(body, c.Value)
	}
	dst = append(dst, byte(c.Kind))
	return AppendLenencBytes(dst, body)
}
