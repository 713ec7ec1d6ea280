package listener

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"time"

	"github.com/pires/go-proxyproto"
)

// Sizes of the PROXY protocol specification: its signatures, a version 1 line, the fixed part of a version 2 header.
const (
	shortestProxy = 12
	maxProxyV1    = 107
	fixedProxyV2  = 16
	maxProxyV2    = 4096 // ours: real headers, with every type-length-value in use, stay below a kilobyte
)

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")
)

// readProxyHeader takes the header that a trusted peer has to send before the client's own bytes. Nothing behind it is
// consumed. Peers that are not trusted are not believed: their header, if any, reaches the protocol as garbage.
//
// A trusted peer without a header is refused, as the specification demands: guessing would let its clients claim any address.
func (l *Listener) readProxyHeader(s *state, c *Conn) error {
	trusted := s.config.Proxy.Trusted
	peer := address(c.raw.RemoteAddr())
	if len(trusted) == 0 || (peer.IsValid() && !within(trusted, peer)) {
		return nil
	}
	c.raw.SetReadDeadline(time.Now().Add(refuseTimeout))
	defer c.raw.SetReadDeadline(time.Time{})
	header, err := proxyHeader(c.raw)
	if err != nil {
		return err
	}
	h, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(header)))
	if err != nil {
		return err
	}
	if h.Command.IsProxy() && address(h.SourceAddr).IsValid() { // LOCAL is the balancer's own health check
		c.client = h.SourceAddr
	}
	return nil
}

// proxyHeader reads exactly one header.
func proxyHeader(r io.Reader) ([]byte, error) {
	b, err := more(r, nil, shortestProxy)
	switch {
	case err != nil:
		return nil, err
	case bytes.Equal(b, signatureV2):
		if b, err = more(r, b, fixedProxyV2-len(b)); err != nil {
			return nil, err
		}
		rest := int(b[14])<<8 + int(b[15])
		if fixedProxyV2+rest > maxProxyV2 {
			return nil, errors.New("the header is too long")
		}
		return more(r, b, rest)
	case !bytes.HasPrefix(b, signatureV1):
		return nil, errors.New("a trusted peer sent none")
	}
	// Byte by byte, because whatever stands behind the line belongs to the protocol; it is at most 95 bytes, once.
	for !bytes.HasSuffix(b, []byte("\r\n")) {
		if len(b) == maxProxyV1 {
			return nil, errors.New("the header line does not end")
		}
		if b, err = more(r, b, 1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// more appends exactly n bytes to b.
func more(r io.Reader, b []byte, n int) ([]byte, error) {
	at := len(b)
	b = append(b, make([]byte, n)...)
	_, err := io.ReadFull(r, b[at:])
	return b, err
}
