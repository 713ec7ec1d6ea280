package mysql

import (
	"encoding/binary"
	"fmt"
)

// Authentication plugins that sidewire speaks.
const (
	PluginNative      = "mysql_native_password"
	PluginCachingSHA2 = "caching_sha2_password"
	PluginClear       = "mysql_clear_password"
)

// Greeting is the server's first packet, handshake version 10.
type Greeting struct {
	ServerVersion string
	ConnectionID  uint32
	Nonce         []byte // NonceLen bytes
	Capabilities  Capability
	Collation     byte
	Status        Status
	Plugin        string
}

// AppendGreeting appends the payload of g.
func AppendGreeting(dst []byte, g *Greeting) []byte {
	dst = append(dst, ProtocolVersion)
	dst = append(append(dst, g.ServerVersion...), 0)
	dst = binary.LittleEndian.AppendUint32(dst, g.ConnectionID)
	dst = append(append(dst, g.Nonce[:8]...), 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(g.Capabilities))
	dst = append(dst, g.Collation)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(g.Status))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(g.Capabilities>>16))
	dst = append(dst, byte(len(g.Nonce)+1))
	dst = append(dst, make([]byte, 10)...)
	dst = append(append(dst, g.Nonce[8:]...), 0)
	return append(append(dst, g.Plugin...), 0)
}

// DecodeGreeting reads a server's first packet. A server that refuses at once
// sends an ERR packet instead, which is returned as *Error.
func DecodeGreeting(p []byte) (*Greeting, error) {
	if len(p) > 0 && p[0] == MarkErr {
		e, err := DecodeErr(p)
		if err != nil {
			return nil, err
		}
		return nil, e
	}
	r := reader{b: p}
	if v := r.u8(); v != ProtocolVersion {
		return nil, fmt.Errorf("reading greeting: %w: protocol version %d, want %d", ErrMalformed, v, ProtocolVersion)
	}
	g := &Greeting{ServerVersion: string(r.nul()), ConnectionID: r.u32()}
	g.Nonce = append(g.Nonce, r.take(8)...)
	r.u8()
	g.Capabilities = Capability(r.u16())
	if r.bad {
		return nil, fmt.Errorf("reading greeting: %w: too short", ErrMalformed)
	}
	if len(r.b) == 0 {
		return g, nil
	}
	g.Collation = r.u8()
	g.Status = Status(r.u16())
	g.Capabilities |= Capability(r.u16()) << 16
	n := int(r.u8())
	r.take(10)
	if g.Capabilities.Has(SecureConnection) {
		second := r.take(min(max(13, n-8), len(r.b)))
		if len(second) < NonceLen-8 {
			r.fail()
		} else {
			g.Nonce = append(g.Nonce, second[:NonceLen-8]...)
		}
	}
	if g.Capabilities.Has(PluginAuth) {
		g.Plugin = string(r.nulOrRest())
	}
	if r.bad {
		return nil, fmt.Errorf("reading greeting: %w: too short", ErrMalformed)
	}
	return g, nil
}

// Response is the client's answer to the greeting.
type Response struct {
	Capabilities Capability
	MaxPacket    uint32
	Collation    uint16 // only its low byte fits the response; COM_CHANGE_USER carries both
	User         string
	Auth         []byte // borrowed
	Database     string
	Plugin       string
	Attributes   []byte // borrowed: pairs of length-encoded strings, see Attribute
}

// sslRequestLen is the length of a response that ends where TLS is to begin.
const sslRequestLen = 32

// IsSSLRequest reports whether p asks for TLS before the response proper.
func IsSSLRequest(p []byte) bool {
	return len(p) == sslRequestLen && Capability(binary.LittleEndian.Uint32(p)).Has(SSL|Protocol41)
}

// AppendSSLRequest appends the payload that asks for TLS.
func AppendSSLRequest(dst []byte, r *Response) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(r.Capabilities))
	dst = binary.LittleEndian.AppendUint32(dst, r.MaxPacket)
	dst = append(dst, byte(r.Collation))
	return append(dst, make([]byte, 23)...)
}

// AppendResponse appends the payload of r; its Capabilities decide which fields
// are there.
func AppendResponse(dst []byte, r *Response) []byte {
	dst = AppendSSLRequest(dst, r)
	dst = append(append(dst, r.User...), 0)
	switch {
	case r.Capabilities.Has(PluginAuthLenenc):
		dst = AppendLenencBytes(dst, r.Auth)
	case r.Capabilities.Has(SecureConnection):
		dst = append(append(dst, byte(len(r.Auth))), r.Auth...)
	default:
		dst = append(append(dst, r.Auth...), 0)
	}
	if r.Capabilities.Has(ConnectWithDB) {
		dst = append(append(dst, r.Database...), 0)
	}
	if r.Capabilities.Has(PluginAuth) {
		dst = append(append(dst, r.Plugin...), 0)
	}
	if r.Capabilities.Has(ConnectAttrs) {
		dst = AppendLenencBytes(dst, r.Attributes)
	}
	return dst
}

// DecodeResponse reads a client's answer to the greeting.
func DecodeResponse(p []byte) (*Response, error) {
	if len(p) < sslRequestLen {
		return nil, fmt.Errorf("reading handshake response: %w: %d bytes, want at least %d", ErrMalformed, len(p), sslRequestLen)
	}
	r := reader{b: p}
	resp := &Response{Capabilities: Capability(r.u32()), MaxPacket: r.u32(), Collation: uint16(r.u8())}
	r.take(23)
	if !resp.Capabilities.Has(Protocol41) {
		return nil, fmt.Errorf("reading handshake response: %w: client older than protocol 4.1", ErrMalformed)
	}
	resp.User = string(r.nul())
	switch {
	case resp.Capabilities.Has(PluginAuthLenenc):
		resp.Auth = r.lenencBytes()
	case resp.Capabilities.Has(SecureConnection):
		resp.Auth = r.take(int(r.u8()))
	default:
		resp.Auth = r.nul()
	}
	// Connectors set these flags and leave the field out when it is empty, so
	// the end of the packet stands for an empty field.
	if resp.Capabilities.Has(ConnectWithDB) && len(r.b) > 0 {
		resp.Database = string(r.nulOrRest())
	}
	if resp.Capabilities.Has(PluginAuth) && len(r.b) > 0 {
		resp.Plugin = string(r.nulOrRest())
	}
	if resp.Capabilities.Has(ConnectAttrs) && len(r.b) > 0 {
		resp.Attributes = r.lenencBytes()
	}
	if r.bad {
		return nil, fmt.Errorf("reading handshake response: %w: a field runs past the packet", ErrMalformed)
	}
	return resp, nil
}

// ChangeUser is the body of COM_CHANGE_USER: the connection phase again, on a
// connection that is already open.
type ChangeUser struct {
	User       string
	Auth       []byte // borrowed
	Database   string
	Collation  uint16
	Plugin     string
	Attributes []byte // borrowed
}

// DecodeChangeUser reads COM_CHANGE_USER, its command byte included.
func DecodeChangeUser(p []byte, caps Capability) (*ChangeUser, error) {
	r := reader{b: p}
	r.u8()
	cu := &ChangeUser{User: string(r.nul())}
	if caps.Has(SecureConnection) {
		cu.Auth = r.take(int(r.u8()))
	} else {
		cu.Auth = r.nul()
	}
	cu.Database = string(r.nulOrRest())
	if len(r.b) >= 2 {
		cu.Collation = r.u16()
	}
	if caps.Has(PluginAuth) && len(r.b) > 0 {
		cu.Plugin = string(r.nulOrRest())
	}
	if caps.Has(ConnectAttrs) && len(r.b) > 0 {
		cu.Attributes = r.lenencBytes()
	}
	if r.bad {
		return nil, fmt.Errorf("reading COM_CHANGE_USER: %w", ErrMalformed)
	}
	return cu, nil
}

// Attribute reads the first connection attribute of attrs and returns the rest;
// ok is false at the end and at the first fault.
func Attribute(attrs []byte) (name, value, rest []byte, ok bool) {
	r := reader{b: attrs}
	if len(attrs) == 0 {
		return nil, nil, nil, false
	}
	name, value = r.lenencBytes(), r.lenencBytes()
	return name, value, r.b, !r.bad
}

// AppendAuthSwitch appends the payload that asks the client to go on with plugin.
func AppendAuthSwitch(dst []byte, plugin string, nonce []byte) []byte {
	dst = append(dst, MarkEOF)
	dst = append(append(dst, plugin...), 0)
	return append(append(dst, nonce...), 0)
}

// DecodeAuthSwitch reads a server's wish for another plugin.
func DecodeAuthSwitch(p []byte) (plugin string, nonce []byte, err error) {
	r := reader{b: p}
	if r.u8() != MarkEOF {
		r.fail()
	}
	if len(r.b) == 0 && !r.bad {
		return "mysql_old_password", nil, nil // the one-byte form means just that
	}
	plugin = string(r.nulOrRest())
	nonce = r.rest()
	if n := len(nonce); n > 0 && nonce[n-1] == 0 {
		nonce = nonce[:n-1]
	}
	if r.bad {
		return "", nil, fmt.Errorf("reading authentication switch: %w", ErrMalformed)
	}
	return plugin, nonce, nil
}
