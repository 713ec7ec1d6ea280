package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// CertName is what a name in a certificate has to be: dns:, uri:, email: or ip: and the name, which may begin or end with *.
type CertName struct {
	kind, text string
}

// kindsOfNames are the subject alternative names that certificates of hosts, workloads and people carry.
var kindsOfNames = []string{"dns", "uri", "email", "ip"}

func parseCertName(text string) (CertName, error) {
	kind, name, ok := strings.Cut(text, ":")
	for _, k := range kindsOfNames {
		if ok && k == kind && name != "" {
			if strings.Contains(strings.Trim(name, "*"), "*") || len(name)-len(strings.Trim(name, "*")) > 1 && strings.Trim(name, "*") != "" {
				return CertName{}, fmt.Errorf("%q: a * may stand at the beginning or at the end, once", text)
			}
			return CertName{kind, name}, nil
		}
	}
	return CertName{}, fmt.Errorf("%q is not the name of a certificate; write dns:, uri:, email: or ip: before it, such as uri:spiffe://mesh/*", text)
}

func parseCertNames(texts []string) ([]CertName, error) {
	var out []CertName
	for _, t := range texts {
		n, err := parseCertName(t)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// fits compares without case where the kind of name does.
func (n CertName) fits(name string) bool {
	want := n.text
	if n.kind == "dns" || n.kind == "email" {
		want, name = strings.ToLower(want), strings.ToLower(name)
	}
	if prefix, ok := strings.CutSuffix(want, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	if suffix, ok := strings.CutPrefix(want, "*"); ok {
		return strings.HasSuffix(name, suffix)
	}
	return want == name
}

// matches reports whether a certificate has the name.
func (n CertName) matches(c *x509.Certificate) bool {
	var all []string
	switch n.kind {
	case "dns":
		all = c.DNSNames
	case "email":
		all = c.EmailAddresses
	case "uri":
		for _, u := range c.URIs {
			all = append(all, u.String())
		}
	case "ip":
		for _, ip := range c.IPAddresses {
			all = append(all, ip.String())
		}
	}
	for _, name := range all {
		if n.fits(name) {
			return true
		}
	}
	return false
}

// named is an error unless a peer's certificate has one of the names.
func named(names []CertName, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return errors.New("the peer has no certificate")
	}
	for _, n := range names {
		if n.matches(certs[0]) {
			return nil
		}
	}
	return fmt.Errorf("certificate of %q has none of the names that are asked for", certs[0].Subject.String())
}

// verifyNames makes c ask for names on top of the chain. The chain was verified by package tls, for resumed sessions, too.
func verifyNames(c *tls.Config, names []CertName) {
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 { // an optional certificate that was not sent
			return nil
		}
		return named(names, s.PeerCertificates)
	}
}

// verifyInsteadOfHost makes c verify the chain of a server's certificate and ask for names instead of the host that is dialled:
// a workload's certificate says who it is, not where.
func verifyInsteadOfHost(c *tls.Config, names []CertName) {
	roots := c.RootCAs
	c.InsecureSkipVerify = true // of the host; the rest is done here
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the server has no certificate")
		}
		o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, i := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(i)
		}
		if _, err := s.PeerCertificates[0].Verify(o); err != nil {
			return err
		}
		return named(names, s.PeerCertificates)
	}
}
