// Package certify makes certificates for tests, here and in integration. Nothing that serves imports it.
package certify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes an authority.
func New(t testing.TB) *Authority { return Named(t, "ca") }

// Named makes an authority of that name.
func Named(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// Own makes a certificate that is its own authority, for names and 127.0.0.1, and writes it and its key to files.
func Own(t testing.TB, names ...string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	a := &Authority{t: t}
	a.cert, a.key = a.sign(server("own", names, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}))
	cert, key = a.write(t.TempDir(), "own", a.cert, a.key)
	return cert, key, a.Pool()
}

func server(name string, names []string, c *x509.Certificate) *x509.Certificate {
	c.Subject, c.DNSNames, c.IPAddresses = pkix.Name{CommonName: name}, names, []net.IP{net.IPv4(127, 0, 0, 1)}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return c
}

// Pool trusts the authority.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// CA writes the authority's certificate to dir/ca.pem.
func (a *Authority) CA(dir string) (file string) {
	a.t.Helper()
	file, _ = a.write(dir, "ca", a.cert, nil)
	return file
}

// Issue writes a certificate for names and 127.0.0.1, for both ends of a connection, to dir/NAME.pem and its key to dir/NAME.key.
func (a *Authority) Issue(dir, name string, names ...string) (cert, key string) {
	a.t.Helper()
	c, k := a.sign(server(name, names, &x509.Certificate{}))
	return a.write(dir, name, c, k)
}

// sign makes a certificate of a template; without an authority yet it signs itself.
func (a *Authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<60))
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *Authority) write(dir, name string, c *x509.Certificate, k *ecdsa.PrivateKey) (cert, key string) {
	a.t.Helper()
	put := func(file, kind string, der []byte) string {
		file = filepath.Join(dir, file)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return file
	}
	cert = put(name+".pem", "CERTIFICATE", c.Raw)
	if k == nil {
		return cert, ""
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, put(name+".key", "PRIVATE KEY", der)
}
