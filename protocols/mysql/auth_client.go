package mysql

import (
	"fmt"
)

// Next says what whoever drives a connection-phase machine does after a step.
type Next int

// The steps a driver takes.
const (
	NextRead Next = iota // send the output as a packet, even if it is empty; then read one and step again
	NextWait             // there is nothing to send: read a packet and step again
	NextTLS              // send the output, if there is any, then do a TLS handshake, then step again
	NextDone             // send the output, if there is any; the connection is ready for commands
)

// ClientAuth is the client's half of the connection phase: it is fed the
// server's payloads and says what to answer. It is used towards backends.
type ClientAuth struct {
	// Set before the first step.
	User       string
	Password   string
	Database   string
	Collation  uint16
	Attributes []byte     // pairs of length-encoded strings
	Want       Capability // what to ask for of what the server offers
	TLS        bool       // insist on TLS
	Private    bool       // a transport nobody listens to: TLS already up, or a unix socket

	// Read when done.
	Greeting     *Greeting
	Capabilities Capability // what both sides agreed to

	plugin string
	nonce  []byte
	state  clientState
}

type clientState int

const (
	clientGreeting clientState = iota
	clientTLS
	clientAnswer
	clientSHA2Key
	clientDone
)

// Step takes the next payload of the server (nil directly after NextTLS) and
// appends the payload to answer to dst; nothing is appended when there is
// nothing to send. An ERR packet of the server is returned as *Error.
func (c *ClientAuth) Step(dst, p []byte) ([]byte, Next, error) {
	switch c.state {
	case clientGreeting:
		return c.greet(dst, p)
	case clientTLS:
		c.Private = true
		return c.respond(dst)
	case clientAnswer, clientSHA2Key:
		return c.answer(dst, p)
	default:
		return dst, NextDone, fmt.Errorf("authenticating: %w: packet after the end", ErrMalformed)
	}
}

func (c *ClientAuth) greet(dst, p []byte) ([]byte, Next, error) {
	g, err := DecodeGreeting(p)
	if err != nil {
		return dst, NextDone, err
	}
	c.Greeting, c.nonce, c.plugin = g, g.Nonce, g.Plugin
	need := Protocol41 | SecureConnection
	if !g.Capabilities.Has(need) {
		return dst, NextDone, fmt.Errorf("authenticating: server %s is too old: it lacks protocol 4.1", g.ServerVersion)
	}
	if c.plugin == "" {
		c.plugin = PluginNative
	}
	want := c.Want | need | LongPassword | PluginAuth | PluginAuthLenenc
	if c.Database != "" {
		want |= ConnectWithDB
	}
	if len(c.Attributes) > 0 {
		want |= ConnectAttrs
	}
	if c.TLS {
		if !g.Capabilities.Has(SSL) {
			return dst, NextDone, fmt.Errorf("authenticating: TLS is demanded and server %s does not offer it", g.ServerVersion)
		}
		want |= SSL
	} else {
		want &^= SSL
	}
	c.Capabilities = want & g.Capabilities
	if c.TLS {
		c.state = clientTLS
		return AppendSSLRequest(dst, c.response(nil)), NextTLS, nil
	}
	return c.respond(dst)
}

func (c *ClientAuth) response(auth []byte) *Response {
	return &Response{Capabilities: c.Capabilities, MaxPacket: 1 << 30, Collation: c.Collation, User: c.User,
		Auth: auth, Database: c.Database, Plugin: c.plugin, Attributes: c.Attributes}
}

func (c *ClientAuth) respond(dst []byte) ([]byte, Next, error) {
	auth, err := c.scramble()
	if err != nil {
		// A server's default plugin says nothing of this account: answer with
		// one we speak and let the server switch.
		c.plugin, auth = PluginNative, nil
	}
	c.state = clientAnswer
	return AppendResponse(dst, c.response(auth)), NextRead, nil
}

func (c *ClientAuth) scramble() ([]byte, error) {
	switch c.plugin {
	case PluginNative:
		return ScrambleNative(c.nonce, c.Password), nil
	case PluginCachingSHA2:
		return ScrambleSHA2(c.nonce, c.Password), nil
	case PluginClear:
		if !c.Private {
			return nil, fmt.Errorf("authenticating: server wants the password in clear text and the connection has no TLS")
		}
		return append([]byte(c.Password), 0), nil
	default:
		return nil, fmt.Errorf("authenticating: server wants plugin %q; sidewire speaks %s, %s and, over TLS, %s",
			c.plugin, PluginNative, PluginCachingSHA2, PluginClear)
	}
}

func (c *ClientAuth) answer(dst, p []byte) ([]byte, Next, error) {
	if len(p) == 0 {
		return dst, NextDone, fmt.Errorf("authenticating: %w: empty packet", ErrMalformed)
	}
	switch p[0] {
	case MarkOK:
		c.state = clientDone
		return dst, NextDone, nil
	case MarkErr:
		e, err := DecodeErr(p)
		if err != nil {
			return dst, NextDone, err
		}
		return dst, NextDone, e
	case MarkEOF:
		return c.switchPlugin(dst, p)
	case MarkMore:
		return c.more(dst, p[1:])
	default:
		return dst, NextDone, fmt.Errorf("authenticating: %w: first byte 0x%02x", ErrMalformed, p[0])
	}
}

func (c *ClientAuth) switchPlugin(dst, p []byte) ([]byte, Next, error) {
	plugin, nonce, err := DecodeAuthSwitch(p)
	if err != nil {
		return dst, NextDone, err
	}
	c.plugin, c.nonce, c.state = plugin, append([]byte(nil), nonce...), clientAnswer
	auth, err := c.scramble()
	if err != nil {
		return dst, NextDone, err
	}
	return append(dst, auth...), NextRead, nil
}

// more goes on with caching_sha2_password: 3 is "known, OK follows", 4 is "prove
// it in full", anything else the key that was asked for.
func (c *ClientAuth) more(dst, p []byte) ([]byte, Next, error) {
	if c.plugin != PluginCachingSHA2 || len(p) == 0 {
		return dst, NextDone, fmt.Errorf("authenticating: %w: unexpected data for %s", ErrMalformed, c.plugin)
	}
	if c.state == clientSHA2Key {
		sealed, err := sealPassword(c.Password, c.nonce, p)
		if err != nil {
			return dst, NextDone, err
		}
		c.state = clientAnswer
		return append(dst, sealed...), NextRead, nil
	}
	switch {
	case p[0] == 3 && len(p) == 1:
		return dst, NextWait, nil
	case p[0] == 4 && len(p) == 1 && c.Private:
		return append(append(dst, c.Password...), 0), NextRead, nil
	case p[0] == 4 && len(p) == 1:
		c.state = clientSHA2Key
		return append(dst, 2), NextRead, nil
	default:
		return dst, NextDone, fmt.Errorf("authenticating: %w: unknown state 0x%02x of %s", ErrMalformed, p[0], c.plugin)
	}
}
