package mysql

import (
	"bytes"
	"crypto/rand"
	"testing"
)

// FuzzDecoders feeds every decoder of a single packet: none may panic, and what
// decodes must encode to something that decodes to the same.
func FuzzDecoders(f *testing.F) {
	f.Add([]byte{0, 1, 2, 2, 0, 0, 0}, uint32(Protocol41|SessionTrack))
	f.Add(AppendGreeting(nil, &Greeting{ServerVersion: "8", Nonce: make([]byte, 20), Capabilities: serverCaps, Plugin: PluginNative}), uint32(0))
	f.Add(AppendResponse(nil, &Response{Capabilities: serverCaps, User: "u", Auth: []byte("x"), Plugin: PluginNative}), uint32(serverCaps))
	f.Add(AppendColumn(nil, &Column{Name: []byte("c")}), uint32(0))
	f.Add([]byte{byte(ComChangeUser), 'b', 0, 0, 's', 0, 45, 0}, uint32(serverCaps))
	f.Add(AppendExecute(nil, &Execute{ID: 1, Nulls: []byte{0}, NewTypes: true, Types: []byte{3, 0, 253, 0}, Values: []byte{1, 0, 0, 0, 1, 'x'}}), uint32(2))
	f.Add([]byte{2, 1, 2, 1, 0xfe, 0, 1, 'a', 6, 0, 1, 'b', 2, 'v', '1', 'S'}, uint32(QueryAttributes))
	f.Add(AppendNamedExecute(nil, &NamedExecute{ID: 1, Count: 3, Nulls: []byte{2}, NewTypes: true,
		Named: []byte{3, 0, 0, 6, 0, 1, 'a', 253, 0, 1, 'b'}, Values: []byte{1, 0, 0, 0, 1, 'x'}}), uint32(1))
	f.Fuzz(func(t *testing.T, p []byte, c uint32) {
		caps := Capability(c)
		if ok, err := DecodeOK(p, caps); err == nil && len(ok.Track) > 0 {
			again, err := DecodeOK(AppendOK(nil, ok, caps), caps)
			if err != nil || again.InsertID != ok.InsertID || !bytes.Equal(again.Track, ok.Track) || !bytes.Equal(again.Info, ok.Info) {
				t.Fatalf("%+v became %+v, %v", ok, again, err)
			}
			for rest := ok.Track; len(rest) > 0; {
				if _, rest, err = TrackNext(rest); err != nil {
					break
				}
			}
		}
		DecodeErr(p)
		DecodeEOF(p)
		DecodeGreeting(p)
		DecodeAuthSwitch(p)
		DecodePrepared(p)
		if r, err := DecodeResponse(p); err == nil {
			again, err := DecodeResponse(AppendResponse(nil, r))
			if err != nil || again.User != r.User || again.Database != r.Database && r.Capabilities.Has(ConnectWithDB) {
				t.Fatalf("%+v became %+v, %v", r, again, err)
			}
			for rest, ok := r.Attributes, true; ok; {
				_, _, rest, ok = Attribute(rest)
			}
		}
		if len(p) > 0 {
			DecodeChangeUser(p, caps)
			StatementID(p)
		}
		if col, err := DecodeColumn(p); err == nil {
			again, err := DecodeColumn(AppendColumn(nil, &col))
			if err != nil || !bytes.Equal(again.Name, col.Name) || again.Type != col.Type {
				t.Fatalf("%+v became %+v, %v", col, again, err)
			}
		}
		n := int(c % 70)
		if e, err := DecodeExecute(p, n); err == nil && e.NewTypes {
			e.Params(nil, e.Types, func(i int) bool { return c>>(i%32)&1 == 1 })
		}
		if attributes, text, _, err := SplitAttributes(p); err == nil && len(attributes)+len(text) != len(p) {
			t.Fatalf("%d and %d bytes of %d", len(attributes), len(text), len(p))
		}
		if e, err := DecodeNamedExecute(p, n); err == nil {
			again, err := DecodeNamedExecute(AppendNamedExecute(nil, &e), n)
			if err != nil || again.Count != e.Count || !bytes.Equal(again.Named, e.Named) || !bytes.Equal(again.Values, e.Values) {
				t.Fatalf("%+v became %+v, %v", e, again, err)
			}
			if x, err := e.Plain(n, func(i int) bool { return c>>(i%32)&1 == 1 }); err == nil {
				if _, err := DecodeExecute(AppendExecute(nil, &x), n); err != nil {
					t.Fatal(err)
				}
			}
		}
		if vs, err := SplitText(nil, p, n); err == nil {
			var b []byte
			for _, v := range vs {
				b = AppendTextValue(b, v)
			}
			if again, err := SplitText(nil, b, n); err != nil || len(again) != len(vs) {
				t.Fatal(err)
			}
		}
		if len(p) > n {
			types := make([]FieldType, n)
			for i := range types {
				types[i] = FieldType(p[i])
			}
			if vs, err := SplitBinary(nil, p[n:], types); err == nil {
				row := BeginBinaryRow(nil, n)
				for i, v := range vs {
					row.Add(types[i], v)
				}
				if _, err := SplitBinary(nil, row.Bytes(), types); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// FuzzReply: whatever a server sends, and however it is cut, the machine must
// not panic, must not pass more than it was given, and must say the same.
func FuzzReply(f *testing.F) {
	for i, tc := range replyCases {
		a := &answer{seq: 1, caps: Protocol41 | DeprecateEOF}
		tc.build(a)
		f.Add(a.b, byte(tc.cmd), i%2 == 0, byte(i+1), true)
		a = &answer{seq: 1, caps: Protocol41}
		tc.build(a)
		f.Add(a.b, byte(tc.cmd), i%2 == 1, byte(i+1), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, cmd byte, each bool, step byte, deprecate bool) {
		caps := Protocol41
		if deprecate {
			caps |= DeprecateEOF
		}
		run := func(step int) (string, int, error) {
			var r Reply
			r.Begin(Command(cmd), caps, 1)
			r.Each = each
			events, passed, err := drive(&r, b, step)
			if passed > len(b) {
				t.Fatalf("passed %d of %d", passed, len(b))
			}
			out := ""
			for _, e := range events {
				out += e + " "
			}
			return out, passed, err
		}
		e1, p1, err1 := run(len(b) + 1)
		e2, p2, err2 := run(int(step)%7 + 1)
		if e1 != e2 || (err1 == nil) != (err2 == nil) || err1 == nil && p1 != p2 {
			t.Fatalf("in one piece: %q %d %v; in pieces: %q %d %v", e1, p1, err1, e2, p2, err2)
		}
	})
}

// FuzzAuth: no sequence of packets from the other side may panic or let a
// stranger in.
func FuzzAuth(f *testing.F) {
	nonce := bytes.Repeat([]byte{'n'}, NonceLen)
	f.Add(AppendResponse(nil, &Response{Capabilities: serverCaps, User: "app", Auth: []byte("xxxxxxxxxxxxxxxxxxxx"), Plugin: PluginNative}), []byte{2}, []byte("x"), false)
	f.Add(AppendGreeting(nil, &Greeting{ServerVersion: "8", Nonce: nonce, Capabilities: serverCaps, Plugin: PluginCachingSHA2}), []byte{1, 4}, []byte{1, '-'}, true)
	f.Add(AppendSSLRequest(nil, &Response{Capabilities: SSL | Protocol41}), []byte{}, []byte{0xfe, 'a', 0}, true)
	secret := make([]byte, 16)
	rand.Read(secret)
	f.Fuzz(func(t *testing.T, p1, p2, p3 []byte, secure bool) {
		s := newServer(PluginCachingSHA2, secure, testKey, string(secret))
		c := &ClientAuth{User: "u", Password: "p", Private: secure}
		for _, p := range [][]byte{p1, p2, p3} {
			if _, next, err := s.Step(nil, bytes.Clone(p)); err != nil {
				break
			} else if next == NextDone {
				t.Fatal("let in without the password")
			}
		}
		for _, p := range [][]byte{p1, p2, p3} {
			if _, next, err := c.Step(nil, p); err != nil || next == NextDone {
				break
			}
		}
	})
}
