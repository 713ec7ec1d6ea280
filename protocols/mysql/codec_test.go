package mysql

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLenenc(t *testing.T) {
	for _, v := range []uint64{0, 1, 250, 251, 1<<16 - 1, 1 << 16, 1<<24 - 1, 1 << 24, 1<<64 - 1} {
		b := AppendLenenc(nil, v)
		got, n := Lenenc(b)
		if got != v || n != len(b) {
			t.Errorf("%d: got %d in %d of %d bytes", v, got, n, len(b))
		}
		for cut := range len(b) {
			if _, n := Lenenc(b[:cut]); n != 0 {
				t.Errorf("%d cut to %d: took %d", v, cut, n)
			}
		}
	}
	for _, c := range []byte{0xfb, 0xff} {
		if _, n := Lenenc([]byte{c, 0, 0, 0, 0, 0, 0, 0, 0}); n != -1 {
			t.Errorf("0x%02x is taken for an integer", c)
		}
	}
}

func TestPackets(t *testing.T) {
	for _, size := range []int{0, 1, MaxPayload - 1, MaxPayload, MaxPayload + 1, 2 * MaxPayload} {
		payload := bytes.Repeat([]byte{7}, size)
		a, next := AppendPacket([]byte("x"), 254, payload)
		b, mark := BeginPacket([]byte("x"))
		b, next2 := EndPacket(append(b, payload...), mark, 254)
		if !bytes.Equal(a, b) || next != next2 {
			t.Fatalf("size %d: the two ways to build a packet differ", size)
		}
		var got []byte
		rest, seq := a[1:], byte(254)
		for {
			n, s := Header(rest)
			if s != seq {
				t.Fatalf("size %d: sequence %d, want %d", size, s, seq)
			}
			got = append(got, rest[HeaderLen:HeaderLen+n]...)
			rest = rest[HeaderLen+n:]
			seq++
			if n < MaxPayload {
				break
			}
		}
		if len(rest) != 0 || len(got) != size || seq != next {
			t.Fatalf("size %d: got %d bytes, %d left, next %d/%d", size, len(got), len(rest), seq, next)
		}
	}
}

// What a MariaDB 10.11 said to SET NAMES latin1.
func TestTrackOfServer(t *testing.T) {
	p := append([]byte{0, 0, 0, 2, 0x40, 0, 0, 0, 'b'}, "\x00\x1d\x15character_set_results\x06latin1\x00\x1c\x14character_set_client\x06latin1"+
		"\x00 \x18character_set_connection\x06latin1\x02\x011"...)
	ok, err := DecodeOK(p, SessionTrack)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var again []byte
	for rest := ok.Track; len(rest) > 0; {
		c, next, err := TrackNext(rest)
		if err != nil {
			t.Fatal(err)
		}
		got, again, rest = append(got, string(c.Name)+"="+string(c.Value)), AppendTrack(again, c), next
	}
	if s := strings.Join(got, " "); s != "character_set_results=latin1 character_set_client=latin1 character_set_connection=latin1 =1" {
		t.Fatal(s)
	}
	if !bytes.Equal(again, ok.Track) {
		t.Fatalf("%q became %q", ok.Track, again)
	}
}

// The greeting of a MariaDB 10.11 and of a MySQL 8.0, as they came.
func TestGreetingOfServers(t *testing.T) {
	maria := unhex(t, `0a 352e352e352d31302e31312e362d4d61726961444200 0b000000 5a5a5a5a5a5a5a5a 00 fef7 2d 0200 ff81 15 000000000000 1d000000
		79797979797979797979797900 6d7973716c5f6e61746976655f70617373776f726400`)
	g, err := DecodeGreeting(maria)
	if err != nil {
		t.Fatal(err)
	}
	if g.ServerVersion != "5.5.5-10.11.6-MariaDB" || g.Plugin != PluginNative || string(g.Nonce) != "ZZZZZZZZyyyyyyyyyyyy" || g.Capabilities.Has(LongPassword) {
		t.Fatalf("%+v", g)
	}
	my := AppendGreeting(nil, &Greeting{ServerVersion: "8.0.40", ConnectionID: 9, Nonce: g.Nonce, Capabilities: serverCaps,
		Collation: 255, Status: StatusAutocommit, Plugin: PluginCachingSHA2})
	m, err := DecodeGreeting(my)
	if err != nil || m.ConnectionID != 9 || m.Capabilities != serverCaps || m.Collation != 255 || m.Plugin != PluginCachingSHA2 || !bytes.Equal(m.Nonce, g.Nonce) {
		t.Fatalf("%+v %v", m, err)
	}
	var refused *Error
	if _, err := DecodeGreeting(append([]byte{0xff, 0x10, 0x04}, "Too many connections"...)); !errors.As(err, &refused) || refused.Code != 1040 || refused.Message != "Too many connections" {
		t.Fatalf("%v", err)
	}
	for cut := range len(my) - 25 {
		if _, err := DecodeGreeting(my[:cut]); err == nil && cut > 0 && cut != 25 {
			// 25 bytes end after the first half of the capabilities, as servers of 2003 did.
			if cut != len("\x0a8.0.40\x00")+4+8+1+2 {
				t.Fatalf("cut to %d is accepted", cut)
			}
		}
	}
}

func TestResponseRoundTrip(t *testing.T) {
	for _, caps := range []Capability{
		Protocol41 | SecureConnection,
		Protocol41,
		Protocol41 | SecureConnection | PluginAuth | PluginAuthLenenc | ConnectWithDB | ConnectAttrs,
		Protocol41 | SecureConnection | ConnectWithDB,
	} {
		want := &Response{Capabilities: caps, MaxPacket: 1 << 24, Collation: 45, User: "app", Auth: []byte("proof")}
		if caps.Has(ConnectWithDB) {
			want.Database = "shop"
		}
		if caps.Has(PluginAuth) {
			want.Plugin = PluginNative
		}
		if caps.Has(ConnectAttrs) {
			want.Attributes = AppendLenencString(AppendLenencString(nil, "program_name"), "x")
		}
		b := AppendResponse(nil, want)
		got, err := DecodeResponse(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("caps %x: %+v %v", uint32(caps), got, err)
		}
		if IsSSLRequest(b) {
			t.Fatal("taken for a wish for TLS")
		}
	}
	if !IsSSLRequest(AppendSSLRequest(nil, &Response{Capabilities: SSL | Protocol41})) {
		t.Fatal("a wish for TLS is not seen")
	}
	// Connectors leave out the empty tail.
	b := AppendResponse(nil, &Response{Capabilities: Protocol41 | SecureConnection, User: "app"})
	b[0] |= byte(ConnectWithDB)
	if r, err := DecodeResponse(b); err != nil || r.Database != "" {
		t.Fatalf("%+v %v", r, err)
	}
	for _, bad := range [][]byte{nil, make([]byte, 31), make([]byte, 40)} {
		if _, err := DecodeResponse(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d zero bytes: %v", len(bad), err)
		}
	}
}

func TestChangeUser(t *testing.T) {
	caps := Protocol41 | SecureConnection | PluginAuth | ConnectAttrs
	p := append([]byte{byte(ComChangeUser)}, "bob\x00\x05proofshop\x00\x2d\x00mysql_native_password\x00\x04\x01k\x01v"...)
	cu, err := DecodeChangeUser(p, caps)
	if err != nil || cu.User != "bob" || string(cu.Auth) != "proof" || cu.Database != "shop" || cu.Collation != 45 || cu.Plugin != PluginNative {
		t.Fatalf("%+v %v", cu, err)
	}
	if cu, err := DecodeChangeUser(append([]byte{byte(ComChangeUser)}, "bob\x00\x00\x00"...), caps); err != nil || cu.User != "bob" || cu.Plugin != "" {
		t.Fatalf("%+v %v", cu, err)
	}
	if _, err := DecodeChangeUser([]byte{byte(ComChangeUser), 'b'}, caps); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
}

func TestOK(t *testing.T) {
	track := AppendTrack(nil, Change{Kind: TrackSchema, Value: []byte("shop")})
	track = AppendTrack(track, Change{Kind: TrackVariable, Name: []byte("time_zone"), Value: []byte("+00:00")})
	track = AppendTrack(track, Change{Kind: TrackGTIDs, Value: []byte("3E11FA47-71CA-11E1-9E33-C80AA9429562:23")})
	want := OK{AffectedRows: 3, InsertID: 1 << 40, Status: StatusAutocommit | StatusSessionChanged, Warnings: 2, Info: []byte("Rows matched: 3"), Track: track}
	for _, mark := range []byte{MarkOK, MarkEOF} {
		caps := Protocol41 | SessionTrack | DeprecateEOF
		b := appendOK(nil, mark, want, caps)
		got, err := DecodeOK(b, caps)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v %v", got, err)
		}
		for cut := range len(b) {
			if _, err := DecodeOK(b[:cut], caps); err == nil && cut != 15 && cut != 14 {
				t.Fatalf("cut to %d of %d is accepted", cut, len(b))
			}
		}
	}
	var kinds []TrackKind
	for rest := track; len(rest) > 0; {
		c, r, err := TrackNext(rest)
		if err != nil {
			t.Fatal(err)
		}
		kinds, rest = append(kinds, c.Kind), r
	}
	if !reflect.DeepEqual(kinds, []TrackKind{TrackSchema, TrackVariable, TrackGTIDs}) {
		t.Fatalf("%v", kinds)
	}
	// A client that did not agree to session tracking must see neither the
	// changes nor the flag that announces them.
	got, err := DecodeOK(AppendOK(nil, want, Protocol41), Protocol41)
	if err != nil || got.Status.Has(StatusSessionChanged) || got.Track != nil || string(got.Info) != "Rows matched: 3" || got.InsertID != 1<<40 {
		t.Fatalf("%+v %v", got, err)
	}
	// The text without its length, as the documentation has it.
	raw := append([]byte{0, 1, 0, 2, 0, 0, 0}, "(Rows matched"...)
	if got, err := DecodeOK(raw, Protocol41); err != nil || string(got.Info) != "(Rows matched" {
		t.Fatalf("%+v %v", got, err)
	}
}

func TestErr(t *testing.T) {
	want := &Error{Code: 1045, State: "28000", Message: "Access denied"}
	got, err := DecodeErr(AppendErr(nil, want))
	if err != nil || *got != *want {
		t.Fatalf("%v %v", got, err)
	}
	if e, _ := DecodeErr(AppendErr(nil, &Error{Code: 1, State: "bad", Message: "m"})); e.State != "HY000" {
		t.Fatalf("%+v", e)
	}
	if _, err := DecodeErr([]byte{0xff, 1}); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	if s := want.Error(); s != "ERROR 1045 (28000): Access denied" {
		t.Fatal(s)
	}
}

func TestColumn(t *testing.T) {
	want := Column{Schema: []byte("shop"), Table: []byte("o"), OrgTable: []byte("orders"), Name: []byte("id"), OrgName: []byte("id"),
		Collation: 63, Length: 20, Type: TypeLongLong, Flags: FlagNotNull | FlagUnsigned, Decimals: 2}
	b := AppendColumn(nil, &want)
	got, err := DecodeColumn(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v %v", got, err)
	}
	for cut := range len(b) - 2 {
		if _, err := DecodeColumn(b[:cut]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut to %d: %v", cut, err)
		}
	}
}

func TestTextRow(t *testing.T) {
	want := [][]byte{[]byte("a"), nil, {}, bytes.Repeat([]byte("x"), 300)}
	var b []byte
	for _, v := range want {
		b = AppendTextValue(b, v)
	}
	got, err := SplitText(nil, b, 4)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%q %v", got, err)
	}
	for _, n := range []int{3, 5} {
		if _, err := SplitText(nil, b, n); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d values: %v", n, err)
		}
	}
}

func TestBinaryRow(t *testing.T) {
	types := []FieldType{TypeTiny, TypeNull, TypeLongLong, TypeVarString, TypeDatetime, TypeDouble, TypeShort, TypeLong, TypeNewDecimal}
	want := [][]byte{{1}, nil, {1, 2, 3, 4, 5, 6, 7, 8}, {}, {0xe7, 7, 1, 2}, {0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, nil, {9, 0, 0, 0}, []byte("1.50")}
	row := BeginBinaryRow([]byte("before"), len(types))
	for i, v := range want {
		row.Add(types[i], v)
	}
	b := row.Bytes()[len("before"):]
	got, err := SplitBinary(nil, b, types)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%q %v", got, err)
	}
	for cut := range len(b) {
		if _, err := SplitBinary(nil, b[:cut], types); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut to %d: %v", cut, err)
		}
	}
}

func TestExecute(t *testing.T) {
	types := []byte{byte(TypeLong), 0, byte(TypeVarString), 0, byte(TypeLongLong), 0x80}
	e := Execute{ID: 5, Nulls: []byte{0b010}, NewTypes: true, Types: types, Values: []byte{7, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}}
	b := AppendExecute(nil, &e)
	got, err := DecodeExecute(b, 3)
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Fatalf("%+v %v", got, err)
	}
	params, err := got.Params(nil, types, nil)
	if err != nil || len(params) != 3 || !bytes.Equal(params[0].Data, []byte{7, 0, 0, 0}) || params[1].Data != nil || !params[2].Unsigned {
		t.Fatalf("%+v %v", params, err)
	}
	// A parameter sent before has no value in the packet, whatever its bit says.
	got.Nulls = []byte{0}
	got.Values = got.Values[4:]
	if params, err = got.Params(nil, types, func(i int) bool { return i < 2 }); err != nil || len(params[2].Data) != 8 {
		t.Fatalf("%+v %v", params, err)
	}
	if _, err := got.Params(nil, types, nil); !errors.Is(err, ErrMalformed) {
		t.Fatal("a value that is not there is read")
	}
	if id, err := StatementID(b); id != 5 || err != nil {
		t.Fatal(id, err)
	}
	PutStatementID(b, 77)
	if id, _ := StatementID(b); id != 77 {
		t.Fatal(id)
	}
	for cut := range 18 {
		if _, err := DecodeExecute(b[:cut], 3); !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut to %d: %v", cut, err)
		}
	}
}

func TestAuthSwitch(t *testing.T) {
	p, n, err := DecodeAuthSwitch(AppendAuthSwitch(nil, PluginNative, []byte("nonce")))
	if p != PluginNative || string(n) != "nonce" || err != nil {
		t.Fatal(p, n, err)
	}
	if p, _, err := DecodeAuthSwitch([]byte{0xfe}); p != "mysql_old_password" || err != nil {
		t.Fatal(p, err)
	}
}
