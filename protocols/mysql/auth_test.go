package mysql

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

var testKey = func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}()

const serverCaps = LongPassword | Protocol41 | SecureConnection | PluginAuth | PluginAuthLenenc | ConnectWithDB |
	ConnectAttrs | DeprecateEOF | SessionTrack | MultiResults | SSL | Transactions

// converse runs both machines against each other, as a driver would with a
// transport between them, and returns what each ended with.
func converse(t *testing.T, c *ClientAuth, s *ServerAuth) (clientErr, serverErr error) {
	t.Helper()
	toClient := AppendGreeting(nil, &s.Greeting)
	for range 12 {
		out, next, err := c.Step(nil, toClient)
		if err != nil {
			return err, serverErr
		}
		if next == NextDone {
			return nil, serverErr
		}
		if serverErr != nil {
			t.Fatalf("client goes on after the server refused: %v", serverErr)
		}
		var back []byte
		var snext Next
		switch next {
		case NextWait:
			back, snext = AppendOK(nil, OK{}, c.Capabilities), NextDone
		default:
			back, snext, serverErr = s.Step(nil, append([]byte(nil), out...))
		}
		if next == NextTLS {
			if snext != NextTLS {
				t.Fatalf("server answered the wish for TLS with %v, %v", snext, serverErr)
			}
			if _, _, err := s.Step(nil, nil); err != nil {
				t.Fatal(err)
			}
			out, _, err := c.Step(nil, nil)
			if err != nil {
				return err, nil
			}
			back, snext, serverErr = s.Step(nil, out)
		}
		toClient = append([]byte(nil), back...)
		var refused *Error
		switch {
		case errors.As(serverErr, &refused):
			toClient = AppendErr(nil, refused)
		case serverErr != nil:
			return nil, serverErr
		case snext == NextDone && len(back) == 0:
			toClient = AppendOK(nil, OK{}, c.Capabilities)
		}
	}
	t.Fatal("no end after twelve steps")
	return nil, nil
}

func newServer(plugin string, secure bool, key *rsa.PrivateKey, passwords ...string) *ServerAuth {
	nonce, err := NewNonce(rand.Reader)
	if err != nil {
		panic(err)
	}
	return &ServerAuth{
		Greeting: Greeting{ServerVersion: "8.0.40", ConnectionID: 7, Nonce: nonce, Capabilities: serverCaps, Collation: 45, Plugin: plugin},
		Host:     "10.0.0.9", Secure: secure, Key: key,
		Lookup: func(user string) []Account {
			if user != "app" {
				return nil
			}
			var a []Account
			for _, p := range passwords {
				a = append(a, Account{Password: p})
			}
			return a
		},
	}
}

func TestMachinesAgree(t *testing.T) {
	for _, plugin := range []string{PluginNative, PluginCachingSHA2} {
		for _, tls := range []bool{false, true} {
			for _, key := range []*rsa.PrivateKey{nil, testKey} {
				for _, tc := range []struct {
					name, user, password string
					accounts             []string
					ok                   bool
				}{
					{"right", "app", "secret", []string{"secret"}, true},
					{"wrong", "app", "secrez", []string{"secret"}, false},
					{"empty right", "app", "", []string{""}, true},
					{"empty wrong", "app", "", []string{"secret"}, false},
					{"password where none is set", "app", "x", []string{""}, false},
					{"unknown user", "eve", "secret", []string{"secret"}, false},
					{"unknown user without password", "eve", "", []string{"secret"}, false},
					{"second of two while rotating", "app", "new", []string{"old", "new"}, true},
				} {
					t.Run(fmt.Sprintf("%s/tls=%v/key=%v/%s", plugin, tls, key != nil, tc.name), func(t *testing.T) {
						s := newServer(plugin, false, key, tc.accounts...)
						c := &ClientAuth{User: tc.user, Password: tc.password, Database: "shop", Collation: 45, TLS: tls,
							Want: DeprecateEOF | SessionTrack, Attributes: AppendLenencString(AppendLenencString(nil, "k"), "v")}
						cerr, serr := converse(t, c, s)
						if tc.ok != (cerr == nil && serr == nil) {
							t.Fatalf("client %v, server %v, want ok=%v", cerr, serr, tc.ok)
						}
						if !tc.ok {
							var e *Error
							if !errors.As(cerr, &e) || e.Code != 1045 || e.State != "28000" {
								t.Fatalf("client saw %v", cerr)
							}
							if want := fmt.Sprintf("'%s'@'10.0.0.9'", tc.user); !strings.Contains(e.Message, want) {
								t.Fatalf("%q lacks %q", e.Message, want)
							}
							return
						}
						if s.Response.Database != "shop" || s.Response.User != "app" || s.Response.Collation != 45 {
							t.Fatalf("server read %+v", s.Response)
						}
						if s.Secure != tls {
							t.Fatalf("server believes TLS is %v", s.Secure)
						}
						n, v, rest, ok := Attribute(s.Response.Attributes)
						if !ok || string(n) != "k" || string(v) != "v" || len(rest) != 0 {
							t.Fatalf("attributes %q", s.Response.Attributes)
						}
						if !c.Capabilities.Has(DeprecateEOF|SessionTrack) || c.Capabilities.Has(MultiResults) {
							t.Fatalf("agreed to %x", c.Capabilities)
						}
					})
				}
			}
		}
	}
}

// A server that keeps only hashes asks for the whole password; this is the
// client's way through it, with and without TLS.
func TestClientFullSHA2(t *testing.T) {
	nonce, _ := NewNonce(rand.Reader)
	g := Greeting{ServerVersion: "9.7.0", Nonce: nonce, Capabilities: serverCaps, Plugin: PluginCachingSHA2}
	pem, err := PublicKeyPEM(testKey)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("private", func(t *testing.T) {
		c := &ClientAuth{User: "u", Password: "geheim", Private: true}
		if _, _, err := c.Step(nil, AppendGreeting(nil, &g)); err != nil {
			t.Fatal(err)
		}
		out, next, err := c.Step(nil, []byte{MarkMore, 4})
		if err != nil || next != NextRead || string(out) != "geheim\x00" {
			t.Fatalf("%q %v %v", out, next, err)
		}
	})
	t.Run("open", func(t *testing.T) {
		c := &ClientAuth{User: "u", Password: "geheim"}
		if _, _, err := c.Step(nil, AppendGreeting(nil, &g)); err != nil {
			t.Fatal(err)
		}
		out, _, err := c.Step(nil, []byte{MarkMore, 4})
		if err != nil || !bytes.Equal(out, []byte{2}) {
			t.Fatalf("%q %v", out, err)
		}
		out, _, err = c.Step(nil, append([]byte{MarkMore}, pem...))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(out, []byte("geheim")) {
			t.Fatal("password in the clear")
		}
		if p, err := openPassword(out, nonce, testKey); err != nil || p != "geheim" {
			t.Fatalf("%q %v", p, err)
		}
		if _, next, err := c.Step(nil, AppendOK(nil, OK{}, c.Capabilities)); err != nil || next != NextDone {
			t.Fatalf("%v %v", next, err)
		}
	})
}

func TestClientSwitch(t *testing.T) {
	nonce, _ := NewNonce(rand.Reader)
	g := Greeting{ServerVersion: "5.5.5-10.11.6-MariaDB", Nonce: nonce, Capabilities: serverCaps, Plugin: "dialog"}
	c := &ClientAuth{User: "u", Password: "p"}
	if _, next, err := c.Step(nil, AppendGreeting(nil, &g)); err != nil || next != NextRead {
		t.Fatal(next, err)
	}
	other := bytes.Repeat([]byte{'x'}, NonceLen)
	out, _, err := c.Step(nil, AppendAuthSwitch(nil, PluginCachingSHA2, other))
	if err != nil || !bytes.Equal(out, ScrambleSHA2(other, "p")) {
		t.Fatalf("%x %v", out, err)
	}
	_, _, err = c.Step(nil, AppendAuthSwitch(nil, PluginClear, nil))
	if err == nil || !strings.Contains(err.Error(), "clear text") {
		t.Fatalf("gave the password away: %v", err)
	}
	_, _, err = c.Step(nil, AppendAuthSwitch(nil, "client_ed25519", nil))
	if err == nil || !strings.Contains(err.Error(), `"client_ed25519"`) {
		t.Fatal(err)
	}
}

// A client whose plugin is not the greeting's has no nonce for it and sends an
// empty proof: that must not pass for "no password".
func TestServerSwitchesForeignPlugin(t *testing.T) {
	for _, tc := range []struct {
		plugin, want string
		caps         Capability
	}{
		{PluginNative, PluginNative, PluginAuth},
		{"client_ed25519", PluginCachingSHA2, PluginAuth},
		{PluginClear, PluginCachingSHA2, PluginAuth}, // no TLS
		{"", PluginNative, 0},
	} {
		s := newServer(PluginCachingSHA2, false, nil, "")
		p := AppendResponse(nil, &Response{Capabilities: Protocol41 | SecureConnection | tc.caps, User: "app", Plugin: tc.plugin})
		out, next, err := s.Step(nil, p)
		if err != nil || next != NextRead {
			t.Fatalf("%s: %v %v", tc.plugin, next, err)
		}
		plugin, nonce, err := DecodeAuthSwitch(out)
		if err != nil || plugin != tc.want || !bytes.Equal(nonce, s.Greeting.Nonce) {
			t.Fatalf("%s: switched to %q %x: %v", tc.plugin, plugin, nonce, err)
		}
	}
}

func TestScramblesAgainstKnownValues(t *testing.T) {
	nonce := []byte("abcdefghijklmnopqrst")
	// Computed apart from this code, with Python's hashlib.
	for _, tc := range []struct{ got, want string }{
		{hex.EncodeToString(ScrambleNative(nonce, "secret")), knownNative},
		{hex.EncodeToString(ScrambleSHA2(nonce, "secret")), knownSHA2},
	} {
		if tc.got != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
	}
	if ScrambleNative(nonce, "") != nil || ScrambleSHA2(nonce, "") != nil {
		t.Error("no password has a proof")
	}
}

func TestNonce(t *testing.T) {
	n, err := NewNonce(bytes.NewReader(append([]byte{0, '$', 0x80, 0xff, 'a'}, bytes.Repeat([]byte{'b'}, 15)...)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range n {
		if c == 0 || c == '$' || c > 0x7f {
			t.Fatalf("%q", n)
		}
	}
	if _, err := NewNonce(bytes.NewReader(nil)); err == nil {
		t.Fatal("no error from an empty source")
	}
}

const (
	knownNative = "8817c50fa779daef010ee7577825b0847df9842e"
	knownSHA2   = "c76e2898612a4cf042c77fa8c4702c4c64c0c2c557c53c4d75595aaa6abae809"
)
