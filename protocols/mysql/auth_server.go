package mysql

import (
	"crypto/rsa"
	"crypto/subtle"
	"fmt"
)

// Account is what the server's half needs to know of a user.
type Account struct {
	Password string
}

// ServerAuth is the server's half of the connection phase: it is fed a client's
// payloads, beginning with the answer to Greeting, and says what to answer. It
// is used towards applications.
type ServerAuth struct {
	// Set before the first step.
	Greeting Greeting
	Host     string                      // the client's address, for the text of a refusal
	Lookup   func(user string) []Account // more than one while a password rotates; nil: unknown user
	Secure   bool                        // the transport is private already: clear text is allowed
	NeedTLS  bool                        // a client that does not begin TLS is refused before it proves anything
	Key      *rsa.PrivateKey             // for caching_sha2_password in full without TLS; nil: no key is handed out

	// Read when done.
	Response Response // its Auth and Attributes are copies

	accounts []Account
	plugin   string
	switched bool
	tls      bool // the client began it
	state    serverState
}

type serverState int

const (
	serverResponse serverState = iota
	serverTLS
	serverSwitched
	serverFull
	serverSealed
	serverDone
)

// Step takes the client's next payload (nil directly after NextTLS) and appends
// the payload to answer to dst, if there is one. At NextDone without an error the
// client is who it says; the driver sends OK. A refusal is an *Error to send.
func (s *ServerAuth) Step(dst, p []byte) ([]byte, Next, error) {
	switch s.state {
	case serverResponse:
		return s.response(dst, p)
	case serverTLS:
		s.Secure, s.tls, s.state = true, true, serverResponse
		return dst, NextWait, nil
	case serverSwitched:
		return s.verify(dst, p)
	case serverFull:
		return s.full(dst, p)
	case serverSealed:
		return s.sealed(dst, p)
	default:
		return dst, NextDone, fmt.Errorf("authenticating: %w: packet after the end", ErrMalformed)
	}
}

// BeginChangeUser starts the machine over for COM_CHANGE_USER on a connection
// with caps.
func (s *ServerAuth) BeginChangeUser(dst []byte, cu *ChangeUser, caps Capability) ([]byte, Next, error) {
	s.Response = Response{Capabilities: caps, User: cu.User, Database: cu.Database, Collation: cu.Collation,
		Plugin: cu.Plugin, Attributes: append([]byte(nil), cu.Attributes...), Auth: append([]byte(nil), cu.Auth...)}
	s.switched = false
	return s.begin(dst)
}

func (s *ServerAuth) response(dst, p []byte) ([]byte, Next, error) {
	if IsSSLRequest(p) {
		if s.tls || !s.Greeting.Capabilities.Has(SSL) {
			return dst, NextDone, &Error{Code: 1043, State: "08S01", Message: "Bad handshake: TLS was not offered"}
		}
		s.state = serverTLS
		return dst, NextTLS, nil
	}
	if s.NeedTLS && !s.tls {
		return dst, NextDone, &Error{Code: 3159, State: "HY000", Message: "Connections using insecure transport are prohibited: begin TLS"}
	}
	r, err := DecodeResponse(p)
	if err != nil {
		return dst, NextDone, err
	}
	s.Response = *r
	s.Response.Auth = append([]byte(nil), r.Auth...)
	s.Response.Attributes = append([]byte(nil), r.Attributes...)
	s.Response.Capabilities &= s.Greeting.Capabilities
	return s.begin(dst)
}

// begin verifies the scramble that came with the user's name, or asks for
// another: a client that took a different plugin than the greeting named had no
// nonce for it, so what it sent proves nothing.
func (s *ServerAuth) begin(dst []byte) ([]byte, Next, error) {
	s.accounts = s.Lookup(s.Response.User)
	s.plugin = s.Response.Plugin
	if !s.Response.Capabilities.Has(PluginAuth) {
		s.plugin = PluginNative // clients without the flag know only this one
	}
	if !s.accepts(s.plugin) {
		return s.change(dst, s.Greeting.Plugin)
	}
	if s.plugin != s.Greeting.Plugin && s.plugin != PluginClear {
		return s.change(dst, s.plugin)
	}
	return s.verify(dst, s.Response.Auth)
}

func (s *ServerAuth) accepts(plugin string) bool {
	return plugin == PluginNative || plugin == PluginCachingSHA2 || plugin == PluginClear && s.Secure
}

func (s *ServerAuth) change(dst []byte, plugin string) ([]byte, Next, error) {
	if s.switched {
		return dst, NextDone, s.refuse(true)
	}
	s.switched, s.plugin, s.state = true, plugin, serverSwitched
	return AppendAuthSwitch(dst, plugin, s.Greeting.Nonce), NextRead, nil
}

func (s *ServerAuth) verify(dst, proof []byte) ([]byte, Next, error) {
	// A NUL alone is how some clients send "no password".
	none := len(proof) == 0 || len(proof) == 1 && proof[0] == 0
	var good bool
	switch s.plugin {
	case PluginNative:
		good = s.any(func(a Account) bool { return same(ScrambleNative(s.Greeting.Nonce, a.Password), proof, none) })
	case PluginCachingSHA2:
		good = s.any(func(a Account) bool { return same(ScrambleSHA2(s.Greeting.Nonce, a.Password), proof, none) })
		switch {
		case good && !none:
			// 3 says that the proof was enough; OK follows in a packet of its own.
			s.state = serverDone
			return append(dst, MarkMore, 3), NextDone, nil
		case !good && !none && (s.Secure || s.Key != nil):
			s.state = serverFull
			return append(dst, MarkMore, 4), NextRead, nil
		}
	case PluginClear:
		good = s.any(func(a Account) bool { return sameText(a.Password, cutNUL(proof)) })
	}
	return s.end(dst, good, none)
}

// full handles the second half of caching_sha2_password: over a private
// transport the password itself, else a request for the key.
func (s *ServerAuth) full(dst, p []byte) ([]byte, Next, error) {
	if s.Secure {
		return s.end(dst, s.any(func(a Account) bool { return sameText(a.Password, cutNUL(p)) }), false)
	}
	if len(p) != 1 || p[0] != 2 {
		return dst, NextDone, s.refuse(false)
	}
	key, err := PublicKeyPEM(s.Key)
	if err != nil {
		return dst, NextDone, err
	}
	s.state = serverSealed
	return append(append(dst, MarkMore), key...), NextRead, nil
}

func (s *ServerAuth) sealed(dst, p []byte) ([]byte, Next, error) {
	password, err := openPassword(p, s.Greeting.Nonce, s.Key)
	return s.end(dst, err == nil && s.any(func(a Account) bool { return sameText(a.Password, password) }), false)
}

func (s *ServerAuth) any(good func(Account) bool) bool {
	found := false
	for _, a := range s.accounts {
		found = good(a) || found
	}
	return found
}

func (s *ServerAuth) end(dst []byte, good, none bool) ([]byte, Next, error) {
	s.state = serverDone
	if !good {
		return dst, NextDone, s.refuse(none)
	}
	return dst, NextDone, nil
}

func (s *ServerAuth) refuse(none bool) *Error {
	used := "YES"
	if none {
		used = "NO"
	}
	s.state = serverDone
	return &Error{Code: 1045, State: "28000",
		Message: fmt.Sprintf("Access denied for user '%s'@'%s' (using password: %s)", s.Response.User, s.Host, used)}
}

func same(want, got []byte, none bool) bool {
	if len(want) == 0 || none {
		return len(want) == 0 && none
	}
	return subtle.ConstantTimeCompare(want, got) == 1
}

func sameText(want, got string) bool {
	return subtle.ConstantTimeCompare([]byte(want), []byte(got)) == 1
}
