package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/sidewire/sidewire/gateway/certify"
	"github.com/sidewire/sidewire/integration/leak"
)

// issuer signs tokens, and has written its public key where sidewire finds it.
type issuer struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	path string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{t: t, key: key, path: filepath.Join(t.TempDir(), "jwks.json")}
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(i.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) token(claims any) string {
	i.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "one"}}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	out, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return out
}

func claims(user string, life time.Duration) map[string]any {
	return map[string]any{"iss": "https://issuer.example", "aud": []string{"kafka", "others"}, "sub": user, "exp": time.Now().Add(life).Unix(), "iat": time.Now().Unix()}
}

func with(c map[string]any, name string, value any) map[string]any {
	if value == nil {
		delete(c, name)
	} else {
		c[name] = value
	}
	return c
}

func (i *issuer) block() string {
	return fmt.Sprintf(`brokers: {ports: PORTS}, authentication: terminate, tokens: {keys: {file: %s}, issuer: "https://issuer.example", audience: [kafka]}`, i.path)
}

func bearing(token string) kgo.Opt { return kgo.SASL(oauth.Auth{Token: token}.AsMechanism()) }

// A signed token lets a client in under the name it bears, and rules know the name; every way in which a token can be wrong does
// not.
func TestTokensAreVerified(t *testing.T) {
	leak.Check(t)
	c := secured(t)
	i := newIssuer(t)
	p := start(t, c.ListenAddrs(), i.block()+`, rules: [{action: deny, users: ["reader-*"], apis: [Produce], topics: ["*"]}]`, proxyAccount, "")
	roundTrip(t, p.addr, bearing(i.token(claims("alice", time.Hour))))
	reader := client(t, p.addr, bearing(i.token(claims("reader-7", time.Hour))), kgo.RecordDeliveryTimeout(5*time.Second))
	if err := reader.ProduceSync(within(t, 10*time.Second), &kgo.Record{Topic: "orders", Value: []byte("1:")}).FirstErr(); err != kerr.TopicAuthorizationFailed {
		t.Errorf("producing as a reader: %v", err)
	}
	other := newIssuer(t)
	header := "eyJhbGciOiJub25lIn0." // {"alg":"none"}
	unsigned := header + strings.Split(i.token(claims("alice", time.Hour)), ".")[1] + "."
	for name, token := range map[string]string{
		"expired":            i.token(claims("alice", -time.Minute)),
		"without an end":     i.token(with(claims("alice", 0), "exp", nil)),
		"of another issuer":  i.token(with(claims("alice", time.Hour), "iss", "https://elsewhere.example")),
		"for others":         i.token(with(claims("alice", time.Hour), "aud", []string{"others"})),
		"not yet valid":      i.token(with(claims("alice", time.Hour), "nbf", time.Now().Add(time.Hour).Unix())),
		"of nobody":          i.token(with(claims("alice", time.Hour), "sub", nil)),
		"by another key":     other.token(claims("alice", time.Hour)),
		"unsigned":           unsigned,
		"cut":                i.token(claims("alice", time.Hour))[:80],
		"empty":              "x",
		"with a changed sub": swap(i.token(claims("alice", time.Hour)), i.token(claims("admin", time.Hour))),
	} {
		t.Run(name, func(t *testing.T) { refused(t, p.addr, bearing(token)) })
	}
	refused(t, p.addr)
	refused(t, p.addr, kgo.SASL(mechanisms("alice", "wonder")["PLAIN"]))
	if strings.Contains(p.logs.String(), strings.Split(unsigned, ".")[1]) {
		t.Error("a token was logged")
	}
}

// swap puts the claims of one token under the signature of another.
func swap(a, b string) string {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	return x[0] + "." + y[1] + "." + x[2]
}

// Trap 11: a session lives as long as its token; a client that is told so brings a new one on the same connection, and one that does
// not is cut. A new token may not make it somebody else.
func TestSessionsEndWithTheirToken(t *testing.T) {
	leak.Check(t)
	c := secured(t)
	i := newIssuer(t)
	p := start(t, c.ListenAddrs(), i.block(), proxyAccount, "    connect_timeout: 20s\n") // a client does not wait for the broker to know it
	ctx := within(t, 60*time.Second)
	var asked atomic.Int64
	cl := client(t, p.addr, kgo.SASL(oauth.Oauth(func(context.Context) (oauth.Auth, error) {
		asked.Add(1)
		return oauth.Auth{Token: i.token(claims("alice", 4*time.Second))}, nil
	})))
	for range 14 {
		produce(t, ctx, cl, "orders", 3, 10)
		pause(ctx, 400*time.Millisecond)
	}
	if n := asked.Load(); n < 3 {
		t.Errorf("%d tokens in 5.6 s, each lives 4 s", n)
	}
	r := dial(t, p.addr)
	shake := kmsg.NewPtrSASLHandshakeRequest()
	shake.Version, shake.Mechanism = 1, "OAUTHBEARER"
	auth := kmsg.NewPtrSASLAuthenticateRequest()
	auth.Version = 2
	prove := func(user string) *kmsg.SASLAuthenticateResponse {
		r.request(shake)
		auth.SASLAuthBytes = []byte("n,,\x01auth=Bearer " + i.token(claims(user, 2*time.Second)) + "\x01\x01")
		return r.request(auth).(*kmsg.SASLAuthenticateResponse)
	}
	if got := prove("alice"); got.ErrorCode != 0 || got.SessionLifetimeMillis < 500 || got.SessionLifetimeMillis > 2000 {
		t.Errorf("a token of two seconds: %+v", got)
	}
	if got := prove("alice"); got.ErrorCode != 0 {
		t.Errorf("again: %+v", got)
	}
	if got := prove("mallory"); got.ErrorCode != kerr.SaslAuthenticationFailed.Code {
		t.Errorf("as another: %+v", got)
	}
	r.closed()
	r = dial(t, p.addr)
	prove("alice")
	pause(ctx, 2100*time.Millisecond)
	r.send(metadata(1))
	r.closed()
	p.logged(t, "did not authenticate again in time")
}

// clientPair makes a certificate for a client, signed by the authority in these files.
func clientPair(t *testing.T, cert, key, name string) tls.Certificate {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.Leaf, priv.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}
}

// A client's certificate says who it is, without SASL; rules know it, and it can be another account at the brokers.
func TestCertificatesNameUsers(t *testing.T) {
	leak.Check(t)
	cert, key, pool := certify.Own(t, "kafka.test")
	c := secured(t)
	first := freeRange(t, 20)
	p := startText(t, fmt.Sprintf("127.0.0.1:%d", first), fmt.Sprintf(`
admin: {address: ""}
listeners:
  - name: events
    address: 127.0.0.1:%d
    tls: {cert: %s, key: {file: %s}, client_ca: %s}
    kafka:
      cluster: events
      brokers: {ports: %d-%d}
      authentication: terminate
      certificates: {as: {mechanism: SCRAM-SHA-256, user: mapped, password: mapped-secret}}
      rules: [{action: deny, users: [reader], apis: [Produce], topics: ["*"]}]
clusters: [{name: events, endpoints: [%q], kafka: {refresh: 500ms, sasl: {mechanism: SCRAM-SHA-512, user: proxy, password: proxy-secret}}}]
`, first, cert, key, cert, first+1, first+19, c.ListenAddrs()[0]))
	as := func(pairs ...tls.Certificate) kgo.Opt {
		return kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
			d := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: "kafka.test", Certificates: pairs}}
			return d.DialContext(ctx, network, host)
		})
	}
	roundTrip(t, p.addr, as(clientPair(t, cert, key, "writer")))
	reader := client(t, p.addr, as(clientPair(t, cert, key, "reader")), kgo.RecordDeliveryTimeout(5*time.Second))
	if err := reader.ProduceSync(within(t, 10*time.Second), &kgo.Record{Topic: "orders", Value: []byte("1:")}).FirstErr(); err != kerr.TopicAuthorizationFailed {
		t.Errorf("producing as a reader: %v", err)
	}
	refused(t, p.addr, as())
	elsewhere, elsewhereKey, _ := certify.Own(t, "kafka.test")
	refused(t, p.addr, as(clientPair(t, elsewhere, elsewhereKey, "writer")))
}
