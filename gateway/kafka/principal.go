package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/sidewire/sidewire/gateway/config"
)

// Tokens lets clients in with OAUTHBEARER: a signed JWT says who they are.
type Tokens struct {
	Keys      config.Secret `yaml:"keys" required:"true" doc:"The issuer's public keys as a JWKS document, usually {file: PATH}; a change of the file is taken up."`
	Issuer    string        `yaml:"issuer" required:"true" doc:"What a token's iss must be."`
	Audience  []string      `yaml:"audience" required:"true" doc:"One of these must be among a token's aud."`
	Principal string        `yaml:"principal" doc:"The claim that holds the user's name." default:"sub"`
	As        *Credentials  `yaml:"as" doc:"Who users with a token are to the brokers, unless users says otherwise; empty: the cluster's sasl."`
}

// SetDefaults fills what a file leaves out.
func (t *Tokens) SetDefaults() { t.Principal = "sub" }

// Certificates lets clients in by the certificate that the listener's tls.client_ca has verified, without SASL.
type Certificates struct {
	Principal string       `yaml:"principal" enum:"common_name|subject|dns|uri" doc:"What of the certificate is the user's name: the subject's common name or the whole subject, the first DNS name or URI." default:"common_name"`
	As        *Credentials `yaml:"as" doc:"Who they are to the brokers, unless users says otherwise; empty: the cluster's sasl."`
}

// SetDefaults fills what a file leaves out.
func (c *Certificates) SetDefaults() { c.Principal = "common_name" }

func (b *ListenerBlock) checkPrincipals(l *config.Listener, at config.Path) (problems []config.Problem) {
	if t := b.Tokens; t != nil {
		tokens := at.Field("tokens")
		if len(t.Audience) == 0 {
			problems = append(problems, tokens.Field("audience").Problem("is missing: tokens for other services would do"))
		}
		if text := t.Keys.Value(); text != "" {
			if _, err := parseKeys(text); err != nil {
				problems = append(problems, tokens.Field("keys").Problem("%v", err))
			}
		}
		problems = append(problems, t.As.check(tokens.Field("as"))...)
	}
	if c := b.Certificates; c != nil {
		if l.TLS == nil || l.TLS.ClientCA == "" {
			problems = append(problems, at.Field("certificates").Problem("the listener asks for none: set tls.client_ca"))
		}
		problems = append(problems, c.As.check(at.Field("certificates").Field("as"))...)
	}
	return problems
}

// signatures are what tokens may be signed with: by somebody who holds a private key.
var signatures = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

func parseKeys(text string) (*jose.JSONWebKeySet, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return nil, fmt.Errorf("expected a JWKS document: %w", err)
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("expected a JWKS document with keys in it")
	}
	for _, k := range set.Keys {
		if !k.Valid() || !k.IsPublic() {
			return nil, fmt.Errorf("key %q is no public key", k.KeyID)
		}
	}
	return &set, nil
}

// keys parses a document once.
func (a *accounts) keys(text string) (*jose.JSONWebKeySet, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keySet == nil || a.keyText != text {
		set, err := parseKeys(text)
		if err != nil {
			return nil, err
		}
		a.keySet, a.keyText = set, text
	}
	return a.keySet, nil
}

// skew is how far the issuer's clock may be from this one's.
const skew = 30 * time.Second

// verify returns who a token says its bearer is, and until when.
func (t *Tokens) verify(keys *jose.JSONWebKeySet, token string, now time.Time) (name string, until time.Time, err error) {
	parsed, err := jwt.ParseSigned(token, signatures)
	if err != nil {
		return "", until, fmt.Errorf("reading token: %w", err)
	}
	candidates := keys.Keys
	if id := parsed.Headers[0].KeyID; id != "" {
		candidates = keys.Key(id)
	}
	var std jwt.Claims
	var all map[string]any
	err = errors.New("signed by a key that is not among the issuer's")
	for i := range candidates {
		if err = parsed.Claims(candidates[i].Key, &std, &all); err == nil {
			break
		}
	}
	if err != nil {
		return "", until, fmt.Errorf("verifying token: %w", err)
	}
	if err := std.ValidateWithLeeway(jwt.Expected{Issuer: t.Issuer, AnyAudience: t.Audience, Time: now}, skew); err != nil {
		return "", until, fmt.Errorf("verifying token: %w", err)
	}
	if std.Expiry == nil {
		return "", until, errors.New("verifying token: it never expires")
	}
	name, _ = all[t.Principal].(string)
	if name == "" {
		return "", until, fmt.Errorf("verifying token: it has no claim %q", t.Principal)
	}
	return name, std.Expiry.Time(), nil
}

// bearer takes the token out of a client's first message (RFC 7628 3.1).
func bearer(message string) (token, authzid string, err error) {
	header, rest, _ := strings.Cut(message, "\x01")
	parts := strings.Split(header, ",")
	if len(parts) != 3 || parts[0] != "n" || parts[2] != "" || parts[1] != "" && !strings.HasPrefix(parts[1], "a=") {
		return "", "", errors.New("authentication failed: expected an OAUTHBEARER message")
	}
	for _, pair := range strings.Split(rest, "\x01") {
		if value, ok := strings.CutPrefix(pair, "auth="); ok {
			scheme, token, ok := strings.Cut(value, " ")
			if ok && strings.EqualFold(scheme, "Bearer") {
				return strings.TrimSpace(token), strings.TrimPrefix(parts[1], "a="), nil
			}
		}
	}
	return "", "", errors.New("authentication failed: no bearer token")
}

// bear takes a client's token. Why it is refused is for the log; the client learns that it is.
func (s *saslServer) bear(message string) error {
	token, authzid, err := bearer(message)
	if err != nil {
		return err
	}
	keys, err := s.accounts.keys(s.block.Tokens.Keys.Value())
	if err != nil {
		return err
	}
	name, until, err := s.block.Tokens.verify(keys, token, time.Now())
	if err == nil && authzid != "" && authzid != name {
		err = errors.New("the client wants to be somebody else")
	}
	if err != nil {
		s.why = err
		return errCredentials
	}
	s.user, s.until, s.external = s.block.external(name, s.block.Tokens.As), until, true
	return nil
}

// external is a user whose name somebody else vouches for.
func (b *ListenerBlock) external(name string, as *Credentials) *User {
	if u := b.user(name); u != nil && u.As != nil {
		as = u.As
	}
	return &User{Name: name, As: as}
}

// certified is who the client's certificate says it is; nil when it showed none.
func (s *session) certified(block *ListenerBlock) *User {
	t, ok := s.client.Conn.(*tls.Conn)
	if !ok || block.Certificates == nil {
		return nil
	}
	state := t.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	if name := block.Certificates.name(state.PeerCertificates[0]); name != "" {
		return block.external(name, block.Certificates.As)
	}
	return nil
}

func (c *Certificates) name(cert *x509.Certificate) string {
	switch c.Principal {
	case "subject":
		return cert.Subject.String()
	case "dns":
		if len(cert.DNSNames) > 0 {
			return cert.DNSNames[0]
		}
		return ""
	case "uri":
		if len(cert.URIs) > 0 {
			return cert.URIs[0].String()
		}
		return ""
	}
	return cert.Subject.CommonName
}
