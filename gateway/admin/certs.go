package admin

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// certs lists the chains that listeners and clusters present (envoy.admin.v3.Certificates).
func (s *Server) certs(w http.ResponseWriter, _ *http.Request) {
	var all []any
	add := func(what, path string, c *tls.Config, err error) {
		if err != nil {
			all = append(all, map[string]any{"used_by": what, "error": err.Error()})
			return
		}
		for _, pair := range c.Certificates {
			var chain []any
			for _, der := range pair.Certificate {
				cert, err := x509.ParseCertificate(der)
				if err != nil {
					all = append(all, map[string]any{"used_by": what, "error": err.Error()})
					continue
				}
				chain = append(chain, certificate(cert, path, s.options.Now()))
			}
			all = append(all, map[string]any{"used_by": what, "cert_chain": chain})
		}
	}
	if snap := s.options.Source.Snapshot(); snap != nil {
		for _, l := range snap.Listeners() {
			if l.TLS != nil {
				c, err := l.TLS.Config()
				add("listener "+l.Name, l.TLS.Cert, c, err)
			}
			if b, ok := l.Block.(interface{ Certificates() []*config.ServerTLS }); ok { // of filter chains
				for _, t := range b.Certificates() {
					c, err := t.Config()
					add("listener "+l.Name, t.Cert, c, err)
				}
			}
		}
		for _, cl := range snap.Clusters() {
			if cl.TLS != nil && cl.TLS.Cert != "" {
				c, err := cl.TLS.Config("")
				add("cluster "+cl.Name, cl.TLS.Cert, c, err)
			}
		}
	}
	if all == nil {
		all = []any{}
	}
	writeJSON(w, map[string]any{"certificates": all})
}

func certificate(c *x509.Certificate, path string, now time.Time) map[string]any {
	names := []any{}
	for _, n := range c.DNSNames {
		names = append(names, map[string]any{"dns": n})
	}
	for _, ip := range c.IPAddresses {
		names = append(names, map[string]any{"ip_address": ip.String()})
	}
	for _, u := range c.URIs {
		names = append(names, map[string]any{"uri": u.String()})
	}
	days := max(0, int(c.NotAfter.Sub(now).Hours()/24))
	return map[string]any{
		"path": path, "serial_number": fmt.Sprintf("%x", c.SerialNumber), "subject_alt_names": names, "days_until_expiration": fmt.Sprint(days),
		"valid_from": c.NotBefore.UTC().Format(time.RFC3339), "expiration_time": c.NotAfter.UTC().Format(time.RFC3339),
	}
}
