package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func (a *authority) issue(t *testing.T, c *x509.Certificate) (certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		a.key = key
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

func newAuthority(t *testing.T) *authority {
	a := &authority{}
	a.pem, _ = a.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func workload(id string) *x509.Certificate {
	u, err := url.Parse(id)
	if err != nil {
		panic(err)
	}
	return &x509.Certificate{URIs: []*url.URL{u}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
}

// Both sides ask for names of workloads: whoever is signed by the right authority and is somebody else is turned away.
func TestNamesOfCertificates(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	for _, c := range []struct {
		name           string
		server, client *authority
		serverID       string
		clientID       string
		ask, demand    []string
		fails          string // of either side; empty: both are content
	}{
		{"both fit", ours, ours, "spiffe://mesh/db", "spiffe://mesh/shop/cart", []string{"uri:spiffe://mesh/db"}, []string{"uri:spiffe://mesh/shop/*"}, ""},
		{"one of several", ours, ours, "spiffe://mesh/db", "spiffe://mesh/shop", []string{"dns:db", "uri:*/db"}, []string{"uri:spiffe://mesh/shop"}, ""},
		{"another server", ours, ours, "spiffe://mesh/evil", "spiffe://mesh/shop", []string{"uri:spiffe://mesh/db"}, nil, "none of the names"},
		{"another client", ours, ours, "spiffe://mesh/db", "spiffe://mesh/evil", []string{"uri:spiffe://mesh/db"}, []string{"uri:spiffe://mesh/shop"}, "none of the names"},
		{"another authority", other, ours, "spiffe://mesh/db", "spiffe://mesh/shop", []string{"uri:spiffe://mesh/db"}, nil, "unknown authority"},
		{"another kind of name", ours, ours, "spiffe://mesh/db", "spiffe://mesh/shop", []string{"dns:spiffe://mesh/db"}, nil, "none of the names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			serverCert, serverKey := c.server.issue(t, workload(c.serverID))
			clientCert, clientKey := c.client.issue(t, workload(c.clientID))
			s := &ServerTLS{Cert: "x", certPEM: []byte(serverCert), Key: Plain(serverKey), ClientCA: "x", caPEM: []byte(ours.pem), ClientNames: c.demand}
			server, err := s.Config()
			if err != nil {
				t.Fatal(err)
			}
			k := &ClientTLS{CA: "x", caPEM: []byte(ours.pem), Cert: "x", certPEM: []byte(clientCert), Key: Plain(clientKey), Names: c.ask}
			client, err := k.Config("10.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			served := make(chan error, 1)
			go func() {
				b, err := l.Accept()
				if err == nil {
					b.SetDeadline(time.Now().Add(10 * time.Second))
					err = tls.Server(b, server).Handshake()
					b.Close()
				}
				served <- err
			}()
			a, err := net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			a.SetDeadline(time.Now().Add(10 * time.Second))
			err = tls.Client(a, client).Handshake()
			text := ""
			for _, err := range []error{err, <-served} {
				if err != nil {
					text += err.Error() + "; "
				}
			}
			if (text == "") != (c.fails == "") || !strings.Contains(text, c.fails) {
				t.Errorf("handshake: %q, want %q", text, c.fails)
			}
		})
	}
}

func TestBadNames(t *testing.T) {
	for _, text := range []string{"", "db", "uri:", "name:db", "dns:a*b", "dns:*a*", "dns:**a"} {
		if _, err := parseCertName(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	n, err := parseCertName("dns:*.Shop.example")
	if err != nil || !n.fits("DB.shop.example") || n.fits("shop.example") {
		t.Errorf("%+v, %v", n, err)
	}
}
