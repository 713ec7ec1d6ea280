package mysql

import (
	"bytes"
	"errors"
	"testing"
)

func TestSplitAttributes(t *testing.T) {
	for _, tc := range []struct {
		name, body string // hex
		attributes string // hex
		n          int
		bad        bool
	}{
		{name: "none", body: "00 01 53 31", attributes: "00 01"},
		{name: "no text either", body: "00 01", attributes: "00 01"},
		{name: "a text and a NULL", body: "02 01 02 01 fe00 01 61 0600 01 62 02 7631 53 31", attributes: "02 01 02 01 fe00 01 61 0600 01 62 02 7631", n: 2},
		{name: "a number", body: "01 01 00 01 0300 01 61 2a000000 53 31", attributes: "01 01 00 01 0300 01 61 2a000000", n: 1},
		{name: "nothing", bad: true},
		{name: "two sets", body: "00 02 53 31", bad: true},
		{name: "no types", body: "01 01 00 00 53 31", bad: true},
		{name: "a name past the end", body: "01 01 00 01 0300 09 61", bad: true},
		{name: "a value past the end", body: "01 01 00 01 fe00 01 61 ff", bad: true},
		{name: "more than there can be", body: "fd 00 00 01 01 53 31", bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			attributes, text, n, err := SplitAttributes(unhex(t, tc.body))
			if tc.bad {
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("error %v", err)
				}
				return
			}
			if err != nil || n != tc.n || !bytes.Equal(attributes, unhex(t, tc.attributes)) || string(text) != "S1" && tc.name != "no text either" {
				t.Fatalf("%x %q %d %v", attributes, text, n, err)
			}
		})
	}
}

// An execution with attributes passes as it is to a server that knows them, and without them to one that does not.
func TestNamedExecute(t *testing.T) {
	// Two parameters (7, 'x') and two attributes (NULL, 'v').
	p := unhex(t, "17 05000000 09 01000000 04 04 01 0300 00 fe00 00 0600 01 61 fe00 01 62 07000000 0178 0176")
	e, err := DecodeNamedExecute(p, 2)
	if err != nil || e.ID != 5 || e.Flags != 1 || e.Count != 4 || !e.NewTypes {
		t.Fatalf("%+v %v", e, err)
	}
	if again := AppendNamedExecute(nil, &e); !bytes.Equal(again, p) {
		t.Fatalf("became %x", again)
	}
	x, err := e.Plain(2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := AppendExecute(nil, &x), unhex(t, "17 05000000 01 01000000 00 01 0300 fe00 07000000 0178"); !bytes.Equal(got, want) {
		t.Fatalf("without attributes %x, want %x", got, want)
	}
	// The second parameter came by SEND_LONG_DATA.
	e.Values = unhex(t, "07000000 0176")
	if x, err = e.Plain(2, func(i int) bool { return i == 1 }); err != nil || !bytes.Equal(x.Values, unhex(t, "07000000")) {
		t.Fatalf("%x %v", x.Values, err)
	}
	if _, err := e.Plain(2, nil); err != nil { // 'v' is then the second parameter's
		t.Fatal(err)
	}
	for cut := range len(p) - 5 {
		if _, err := DecodeNamedExecute(p[:cut], 2); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut to %d: %v", cut, err)
		}
		if cut > 20 {
			break // values are looked at when they are needed
		}
	}
	if _, err := DecodeNamedExecute(unhex(t, "17 05000000 08 01000000 01 00 01 0300 00 07000000"), 2); !errors.Is(err, ErrMalformed) {
		t.Fatalf("fewer than the statement has: %v", err)
	}
	none, err := DecodeNamedExecute(unhex(t, "17 05000000 00 01000000"), 0)
	if err != nil || none.Count != 0 {
		t.Fatalf("%+v %v", none, err)
	}
}
