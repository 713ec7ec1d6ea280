package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"sync"
)

// Config is the TLS configuration of a listener. The files were read when the model was loaded.
func (t *ServerTLS) Config() (*tls.Config, error) {
	cert, err := tls.X509KeyPair(t.certPEM, []byte(t.Key.Value()))
	if err != nil {
		return nil, fmt.Errorf("reading certificate and key: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if t.ClientCA != "" {
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(t.caPEM) {
			return nil, fmt.Errorf("reading client_ca: %s holds no certificate", t.ClientCA)
		}
		if t.Auth == "optional" {
			c.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	names, err := parseCertNames(t.ClientNames)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading client_names: %w", err)
	case len(names) > 0 && t.ClientCA == "":
		return nil, errors.New("client_names: needs client_ca")
	case len(names) > 0:
		verifyNames(c, names)
	}
	return c, nil
}

// sessionCache is how many servers' TLS sessions are kept for resumption, which saves most of a handshake's work.
const sessionCache = 64

// Config is the TLS configuration towards a server called host. Certificates are parsed once, not at every connection.
func (t *ClientTLS) Config(host string) (*tls.Config, error) {
	p := t.parsed
	if p == nil { // made in Go code, not from a file: nobody dials with it often
		p = &parsedTLS{}
	}
	p.once.Do(func() { p.base, p.err = t.parse() })
	if p.err != nil {
		return nil, p.err
	}
	c := p.base.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c, nil
}

// Same tells whether two say the same, whatever was made of them since.
func (t *ClientTLS) Same(other *ClientTLS) bool {
	if t == nil || other == nil {
		return t == other
	}
	a, b := *t, *other
	a.parsed, b.parsed = nil, nil
	return reflect.DeepEqual(a, b)
}

// parsedTLS is what a ClientTLS was parsed to. It is no part of the configuration's content.
type parsedTLS struct {
	once sync.Once
	base *tls.Config
	err  error
}

func (t *ClientTLS) parse() (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.Insecure, MinVersion: tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessionCache)}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(t.caPEM) {
			return nil, fmt.Errorf("reading ca: %s holds no certificate", t.CA)
		}
	}
	if t.Cert != "" || !t.Key.IsZero() {
		cert, err := tls.X509KeyPair(t.certPEM, []byte(t.Key.Value()))
		if err != nil {
			return nil, fmt.Errorf("reading certificate and key: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	names, err := parseCertNames(t.Names)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading names: %w", err)
	case len(names) > 0 && t.Insecure:
		return nil, errors.New("names: cannot stand beside insecure_skip_verify")
	case len(names) > 0:
		verifyInsteadOfHost(c, names)
	}
	return c, nil
}

// Load reads the files that t names, for a block that was decoded outside a model.
func (t *ClientTLS) Load(env *Env) error {
	d := decoder{env: env}
	t.certPEM = d.pem("cert", t.Cert)
	t.caPEM = d.pem("ca", t.CA)
	if len(d.problems) > 0 {
		return Problems(d.problems)
	}
	return nil
}
