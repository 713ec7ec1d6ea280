package xds

import (
	"errors"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	rawBufferType  = prefix + "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
	downstreamType = prefix + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
	upstreamType   = prefix + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
)

// serverTLS is a listener's transport socket as the file's `tls:`; nil is none.
func serverTLS(s *corev3.TransportSocket, n *notes) (tree, error) {
	if s == nil || s.GetTypedConfig().GetTypeUrl() == rawBufferType {
		return nil, nil
	}
	var c tlsv3.DownstreamTlsContext
	if err := unpack(s.GetTypedConfig(), downstreamType, &c); err != nil {
		return nil, fmt.Errorf("transport_socket: %w", err)
	}
	out, err := commonTLS(c.CommonTlsContext, n)
	if err != nil {
		return nil, fmt.Errorf("transport_socket: %w", err)
	}
	if out["cert"] == nil {
		return nil, errors.New("transport_socket: names no certificate")
	}
	move(out, "ca", "client_ca")
	move(out, "names", "client_names")
	if out["client_names"] != nil && out["client_ca"] == nil {
		return nil, errors.New("transport_socket: matching names needs a trusted_ca")
	}
	if c.GetRequireClientCertificate().GetValue() {
		if out["client_ca"] == nil {
			return nil, errors.New("transport_socket: require_client_certificate needs a trusted_ca")
		}
	} else if out["client_ca"] != nil {
		out["client_auth"] = "optional"
	}
	n.rest("transport_socket", &c, "common_tls_context", "require_client_certificate")
	return out, nil
}

// clientTLS is a cluster's transport socket as the file's `tls:`; nil is none.
func clientTLS(s *corev3.TransportSocket, n *notes) (tree, error) {
	if s == nil || s.GetTypedConfig().GetTypeUrl() == rawBufferType {
		return nil, nil
	}
	var c tlsv3.UpstreamTlsContext
	if err := unpack(s.GetTypedConfig(), upstreamType, &c); err != nil {
		return nil, fmt.Errorf("transport_socket: %w", err)
	}
	out, err := commonTLS(c.CommonTlsContext, n)
	if err != nil {
		return nil, fmt.Errorf("transport_socket: %w", err)
	}
	if c.Sni != "" {
		out["server_name"] = c.Sni
	}
	if out["ca"] == nil {
		// Envoy verifies nothing without a validation context. So it is done, and said.
		out["insecure_skip_verify"] = true
		n.add("transport_socket: the server is not verified, because no trusted_ca is given")
		if out["names"] != nil {
			return nil, errors.New("transport_socket: matching names needs a trusted_ca")
		}
	}
	n.rest("transport_socket", &c, "common_tls_context", "sni")
	return out, nil
}

func unpack(a *anypb.Any, want string, into proto.Message) error {
	if a.GetTypeUrl() != want {
		return fmt.Errorf("%q is not supported", typeName(a.GetTypeUrl()))
	}
	return a.UnmarshalTo(into)
}

func move(t tree, from, to string) {
	if v, ok := t[from]; ok {
		delete(t, from)
		t[to] = v
	}
}

// commonTLS gives cert, key and ca, as text, paths or holes.
func commonTLS(c *tlsv3.CommonTlsContext, n *notes) (tree, error) {
	out := tree{}
	if c == nil {
		return out, nil
	}
	certs, sds := c.TlsCertificates, c.TlsCertificateSdsSecretConfigs
	if len(certs)+len(sds) > 1 {
		return nil, errors.New("more than one certificate is not supported")
	}
	if len(sds) == 1 {
		path, err := secretPath(sds[0])
		if err != nil {
			return nil, err
		}
		out["cert"], out["key"] = hole{sds[0].Name, partChain, path}, hole{sds[0].Name, partKey, path}
	}
	if len(certs) == 1 {
		chain, key, err := certificateOf(certs[0])
		if err != nil {
			return nil, err
		}
		out["cert"], out["key"] = chain, key
	}
	switch v := c.ValidationContextType.(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		if err := validation(out, v.ValidationContext, n); err != nil {
			return nil, err
		}
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		if err := discoveredCA(out, v.ValidationContextSdsSecretConfig); err != nil {
			return nil, err
		}
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		if err := validation(out, v.CombinedValidationContext.DefaultValidationContext, n); err != nil {
			return nil, err
		}
		if s := v.CombinedValidationContext.ValidationContextSdsSecretConfig; s != nil {
			if err := discoveredCA(out, s); err != nil {
				return nil, err
			}
		}
	case nil:
	default:
		return nil, fmt.Errorf("%T is not supported", v)
	}
	n.rest("common_tls_context", c, "tls_certificates", "tls_certificate_sds_secret_configs", "validation_context", "validation_context_sds_secret_config", "combined_validation_context")
	return out, nil
}

// secretPath is the file that has a secret; empty when the control plane has. Others would need a stream of their own.
func secretPath(s *tlsv3.SdsSecretConfig) (string, error) {
	path, err := pathOf(s.GetSdsConfig())
	if err != nil {
		return "", fmt.Errorf("secret %q: %w", s.GetName(), err)
	}
	return path, nil
}

func discoveredCA(out tree, s *tlsv3.SdsSecretConfig) error {
	path, err := secretPath(s)
	if err != nil {
		return err
	}
	out["ca"] = hole{s.GetName(), partCA, path}
	return nil
}

func certificateOf(c *tlsv3.TlsCertificate) (chain string, key any, err error) {
	if err = refuse("tls_certificate", c, "certificate_chain", "private_key", "watched_directory"); err != nil {
		return "", nil, err
	}
	if chain, err = pemOf("certificate_chain", c.CertificateChain); err != nil {
		return "", nil, err
	}
	key, err = secretOf("private_key", c.PrivateKey)
	return chain, key, err
}

// validation takes what a validation context checks. What it would check beyond the chain is refused, never skipped.
func validation(out tree, v *tlsv3.CertificateValidationContext, n *notes) error {
	if v == nil {
		return nil
	}
	//lint:ignore SA1019 the old field is still sent
	plain := v.MatchSubjectAltNames
	if err := refuse("validation_context", v, "trusted_ca", "watched_directory", "system_root_certs", "match_typed_subject_alt_names", "match_subject_alt_names"); err != nil {
		return err
	}
	var names []any
	for i, m := range v.MatchTypedSubjectAltNames {
		kind, ok := nameKinds[m.SanType]
		if !ok {
			return fmt.Errorf("match_typed_subject_alt_names[%d]: san_type %s is not supported", i, enumName(m.SanType))
		}
		name, err := nameOfMatcher(m.Matcher)
		if err != nil {
			return fmt.Errorf("match_typed_subject_alt_names[%d]: %w", i, err)
		}
		names = append(names, kind+name)
	}
	for i, m := range plain { // of any kind
		name, err := nameOfMatcher(m)
		if err != nil {
			return fmt.Errorf("match_subject_alt_names[%d]: %w", i, err)
		}
		for _, kind := range []string{"dns:", "uri:", "email:", "ip:"} {
			names = append(names, kind+name)
		}
	}
	if len(names) > 0 {
		out["names"] = names
	}
	if v.TrustedCa == nil {
		return nil
	}
	ca, err := pemOf("trusted_ca", v.TrustedCa)
	if err != nil {
		return err
	}
	out["ca"] = ca
	return nil
}

var nameKinds = map[tlsv3.SubjectAltNameMatcher_SanType]string{
	tlsv3.SubjectAltNameMatcher_DNS: "dns:", tlsv3.SubjectAltNameMatcher_URI: "uri:",
	tlsv3.SubjectAltNameMatcher_EMAIL: "email:", tlsv3.SubjectAltNameMatcher_IP_ADDRESS: "ip:",
}

// nameOfMatcher is a matcher as the file's names have it.
func nameOfMatcher(m *matcherv3.StringMatcher) (string, error) {
	name := ""
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		name = p.Exact
	case *matcherv3.StringMatcher_Prefix:
		name = p.Prefix + "*"
	case *matcherv3.StringMatcher_Suffix:
		name = "*" + p.Suffix
	default:
		return "", errors.New("only exact, prefix and suffix are supported")
	}
	if strings.Count(name, "*") > 1 || (strings.Contains(name, "*") && m.GetExact() != "") {
		return "", fmt.Errorf("%q has a * in it, which names would read otherwise", name)
	}
	return name, refuse("matcher", m, "exact", "prefix", "suffix")
}

// secretParts are what holes are filled with. A key may be {file: ...} or {env: ...}.
func secretParts(s *tlsv3.Secret, n *notes) (map[string]any, error) {
	switch t := s.Type.(type) {
	case *tlsv3.Secret_TlsCertificate:
		chain, key, err := certificateOf(t.TlsCertificate)
		if err != nil {
			return nil, err
		}
		return map[string]any{partChain: chain, partKey: key}, nil
	case *tlsv3.Secret_ValidationContext:
		out := tree{}
		if err := validation(out, t.ValidationContext, n); err != nil {
			return nil, err
		}
		if out["ca"] == nil {
			return nil, errors.New("validation_context: trusted_ca is missing")
		}
		if out["names"] != nil {
			return nil, errors.New("validation_context: names are matched where the transport socket says so, not in a secret")
		}
		return map[string]any{partCA: out["ca"]}, nil
	case *tlsv3.Secret_GenericSecret:
		v, err := secretOf("generic_secret", t.GenericSecret.GetSecret())
		if err != nil {
			return nil, err
		}
		return map[string]any{partGeneric: v}, nil
	}
	return nil, fmt.Errorf("secrets of this kind (%T) are not supported", s.Type)
}

// partGeneric is a generic secret's value, which {secret: NAME} in a block names.
const partGeneric = "secret"
