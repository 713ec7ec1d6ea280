package socket

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/sidewire/sidewire/gateway/certify"
)

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	cert, key, pool := certify.Own(t, "db")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair, pool
}

// shaken returns the server's end as a transform with its connection, and the client's as an ordinary TLS connection.
func shaken(t *testing.T, version uint16) (*TLS, *Conn, *tls.Conn) {
	t.Helper()
	cert, roots := certificate(t)
	server, peer := pair(t, "tcp")
	server.SetDeadline(time.Now().Add(patience))
	peer.SetDeadline(time.Now().Add(patience))
	client := tls.Client(peer, &tls.Config{ServerName: "db", RootCAs: roots, MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	s, err := ServerTLS(context.Background(), server, &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	if err := within(t, "client handshake", done); err != nil {
		t.Fatal(err)
	}
	return s, server, client
}

func TestTLSIsATransform(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			s, server, client := shaken(t, version)
			sent := bytes.Repeat([]byte("0123456789abcdef"), 20000)
			go client.Write(sent)
			var got, wire []byte
			wire = make([]byte, 777) // ragged: records arrive in pieces
			for n := 0; len(got) < len(sent); {
				var err error
				if got, err = s.Open(got, wire[:n]); err != nil {
					t.Fatal(err)
				}
				if len(got) < len(sent) {
					if n, err = server.Read(wire); err != nil {
						t.Fatal(err)
					}
				}
			}
			if !bytes.Equal(got, sent) {
				t.Fatal("bytes differ")
			}
			out, err := s.Seal([]byte("kept"), sent)
			if err != nil || string(out[:4]) != "kept" {
				t.Fatalf("%v, %q", err, out[:4])
			}
			if out, err = s.SealClose(out); err != nil {
				t.Fatal(err)
			}
			go func() {
				server.Write(out[4:])
				server.CloseWrite()
			}()
			back, err := io.ReadAll(client)
			if err != nil || !bytes.Equal(back, sent) {
				t.Fatalf("%d bytes came back, %v", len(back), err)
			}
		})
	}
}

func TestTLSGoodbyeAndGarbage(t *testing.T) {
	s, server, client := shaken(t, tls.VersionTLS13)
	go func() {
		client.Write([]byte("last"))
		client.CloseWrite()
	}()
	wire, err := io.ReadAll(io.LimitReader(server, 50)) // both records, whatever their exact size, or an error by the deadline
	if len(wire) == 0 {
		t.Fatal(err)
	}
	var got []byte
	for {
		if got, err = s.Open(got, wire); err != nil {
			break
		}
		buf := make([]byte, 100)
		n, rerr := server.Read(buf)
		if rerr != nil {
			t.Fatal(rerr)
		}
		wire = buf[:n]
	}
	if !errors.Is(err, io.EOF) || string(got) != "last" {
		t.Fatalf("%q, %v", got, err)
	}
	s, _, _ = shaken(t, tls.VersionTLS13)
	if _, err := s.Open(nil, bytes.Repeat([]byte{0xff}, 100)); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("garbage was taken: %v", err)
	}
	if _, err := s.Open(nil, nil); err == nil {
		t.Fatal("a broken session goes on")
	}
}

func TestTLSHandshakeRefusal(t *testing.T) {
	cert, _ := certificate(t)
	server, peer := pair(t, "tcp")
	go tls.Client(peer, &tls.Config{ServerName: "db", RootCAs: x509.NewCertPool()}).Handshake()
	if _, err := ServerTLS(context.Background(), server, &tls.Config{Certificates: []tls.Certificate{cert}}); err == nil {
		t.Fatal("a client that trusts nobody shook hands")
	}
	if _, err := server.Pending(); errors.Is(err, net.ErrClosed) {
		t.Fatal("the connection was closed; it is the caller's")
	}
}
