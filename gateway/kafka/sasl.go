package kafka

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/xdg-go/scram"

	"github.com/sidewire/sidewire/protocols/kafka"
)

const (
	mechanismPlain    = "PLAIN"
	mechanismScram256 = "SCRAM-SHA-256"
	mechanismScram512 = "SCRAM-SHA-512"
	mechanismOAuth    = "OAUTHBEARER"
)

// terminated are the mechanisms that clients may authenticate to sidewire with.
var terminated = []string{mechanismPlain, mechanismScram256, mechanismScram512}

func scramHash(mechanism string) scram.HashGeneratorFcn {
	if mechanism == mechanismScram512 {
		return scram.SHA512
	}
	return scram.SHA256
}

// saslClient answers a broker's challenges. The first call has none.
type saslClient func(challenge []byte) (response []byte, err error)

func newSASLClient(c *Credentials) (saslClient, error) {
	switch c.Mechanism {
	case mechanismPlain:
		return func([]byte) ([]byte, error) { return []byte("\x00" + c.User + "\x00" + c.Password.Value()), nil }, nil
	case mechanismOAuth:
		return func([]byte) ([]byte, error) { return []byte("n,,\x01auth=Bearer " + c.Token.Value() + "\x01\x01"), nil }, nil
	}
	cl, err := scramHash(c.Mechanism).NewClient(c.User, c.Password.Value(), "")
	if err != nil {
		return nil, fmt.Errorf("preparing %s credentials: %w", c.Mechanism, err)
	}
	conv := cl.NewConversation()
	return func(challenge []byte) ([]byte, error) {
		out, err := conv.Step(string(challenge))
		return []byte(out), err
	}, nil
}

// maxRounds bounds a SASL exchange; SCRAM takes three.
const maxRounds = 8

// exchange asks a broker one thing and waits for its answer.
type exchange func(context.Context, kmsg.Request) (kmsg.Response, error)

// authenticate proves who sidewire is to the broker at an address. Nil credentials are no proof, where the broker wants none. It
// returns how long the proof holds; 0: for ever.
func authenticate(ctx context.Context, address string, creds *Credentials, ask exchange) (life time.Duration, err error) {
	if creds == nil {
		return 0, nil
	}
	cl, err := newSASLClient(creds)
	if err != nil {
		return 0, err
	}
	shake := kmsg.NewPtrSASLHandshakeRequest()
	shake.Version, shake.Mechanism = 1, creds.Mechanism
	resp, err := ask(ctx, shake)
	if err != nil {
		return 0, err
	}
	if r := resp.(*kmsg.SASLHandshakeResponse); r.ErrorCode != 0 {
		return 0, fmt.Errorf("broker %s does not take %s: it offers %s", address, creds.Mechanism, strings.Join(r.SupportedMechanisms, ", "))
	}
	var challenge []byte
	for range maxRounds {
		out, err := cl(challenge)
		if err != nil {
			return 0, fmt.Errorf("authenticating to %s with %s: %w", address, creds.Mechanism, err)
		}
		if len(out) == 0 && challenge != nil {
			return life, nil // the client has verified the server and has nothing more to say
		}
		auth := kmsg.NewPtrSASLAuthenticateRequest()
		auth.Version, auth.SASLAuthBytes = 1, out
		resp, err := ask(ctx, auth)
		if err != nil {
			return 0, err
		}
		r := resp.(*kmsg.SASLAuthenticateResponse)
		if r.ErrorCode != 0 {
			why := "no reason given"
			if r.ErrorMessage != nil {
				why = *r.ErrorMessage
			}
			return 0, fmt.Errorf("authenticating to %s as %q with %s: error code %d: %s", address, creds.User, creds.Mechanism, r.ErrorCode, why)
		}
		life = max(time.Duration(r.SessionLifetimeMillis)*time.Millisecond, 0)
		if creds.Mechanism == mechanismPlain || creds.Mechanism == mechanismOAuth {
			return life, nil
		}
		challenge = r.SASLAuthBytes
	}
	return 0, fmt.Errorf("authenticating to %s: no end after %d rounds", address, maxRounds)
}

// errCredentials is all that a client learns; which half was wrong is nobody's business.
var errCredentials = errors.New("authentication failed: invalid credentials")

// accounts proves clients against a listener's users. What SCRAM derives from a password takes milliseconds, so it is kept.
type accounts struct {
	mu      sync.Mutex
	stored  map[storedKey]scram.StoredCredentials
	keyText string // the JWKS document that keySet is
	keySet  *jose.JSONWebKeySet
}

type storedKey struct{ mechanism, user, password string }

// scramIterations is Kafka's own minimum.
const scramIterations = 4096

func (a *accounts) credentials(mechanism string, u *User) (scram.StoredCredentials, error) {
	key := storedKey{mechanism, u.Name, u.Password.Value()}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.stored[key]; ok {
		return s, nil
	}
	cl, err := scramHash(mechanism).NewClient(u.Name, u.Password.Value(), "")
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	s, err := cl.GetStoredCredentialsWithError(scram.KeyFactors{Salt: rand.Text(), Iters: scramIterations})
	if err != nil {
		return scram.StoredCredentials{}, err
	}
	if a.stored == nil || len(a.stored) > 4096 { // passwords that were changed would pile up
		a.stored = map[storedKey]scram.StoredCredentials{}
	}
	a.stored[key] = s
	return s, nil
}

// saslServer is one client's exchange.
type saslServer struct {
	block     *ListenerBlock
	accounts  *accounts
	mechanism string // chosen by the handshake; empty before it
	scram     *scram.ServerConversation
	user      *User     // set when the exchange has succeeded
	external  bool      // the user is vouched for by a token or certificate
	until     time.Time // when the user's token expires; zero: never
	why       error     // what was wrong with a token
}

func (b *ListenerBlock) user(name string) *User {
	for i := range b.Users {
		if b.Users[i].Name == name {
			return &b.Users[i]
		}
	}
	return nil
}

func (b *ListenerBlock) offered() []string {
	if len(b.Mechanisms) > 0 {
		return b.Mechanisms
	}
	var all []string
	if len(b.Users) > 0 {
		all = append(all, terminated...)
	}
	if b.Tokens != nil {
		all = append(all, mechanismOAuth)
	}
	return all
}

// handshake begins an exchange, also one on a connection that is authenticated already (KIP-368).
func (s *saslServer) handshake(req *kmsg.SASLHandshakeRequest) *kmsg.SASLHandshakeResponse {
	resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
	resp.SupportedMechanisms = s.block.offered()
	s.mechanism, s.scram, s.until = "", nil, time.Time{}
	for _, m := range resp.SupportedMechanisms {
		if m == req.Mechanism {
			s.mechanism = m
			return resp
		}
	}
	resp.ErrorCode = kafka.ErrCodeUnsupportedMechanism
	return resp
}

// step takes a client's next token. done tells that the client is who it says.
func (s *saslServer) step(token []byte) (answer []byte, done bool, err error) {
	switch s.mechanism {
	case mechanismOAuth:
		err := s.bear(string(token))
		return nil, err == nil, err
	case "":
		return nil, false, errors.New("authentication before a handshake")
	case mechanismPlain:
		parts := strings.Split(string(token), "\x00")
		if len(parts) != 3 {
			return nil, false, errors.New("authentication failed: expected an identity, a user and a password")
		}
		u := s.block.user(parts[1])
		want := ""
		if u != nil {
			want = u.Password.Value()
		}
		if subtle.ConstantTimeCompare([]byte(want), []byte(parts[2])) != 1 || u == nil || (parts[0] != "" && parts[0] != parts[1]) {
			return nil, false, errCredentials
		}
		s.user = u
		return nil, true, nil
	}
	if s.scram == nil {
		server, err := scramHash(s.mechanism).NewServer(s.lookup)
		if err != nil {
			return nil, false, err
		}
		s.scram = server.NewConversation()
	}
	out, err := s.scram.Step(string(token))
	if err != nil {
		return nil, false, errCredentials
	}
	if !s.scram.Done() {
		return []byte(out), false, nil
	}
	if !s.scram.Valid() || (s.scram.AuthzID() != "" && s.scram.AuthzID() != s.scram.Username()) {
		return nil, false, errCredentials
	}
	s.user = s.block.user(s.scram.Username())
	return []byte(out), s.user != nil, nil
}

func (s *saslServer) lookup(user string) (scram.StoredCredentials, error) {
	u := s.block.user(user)
	if u == nil {
		return scram.StoredCredentials{}, errCredentials
	}
	return s.accounts.credentials(s.mechanism, u)
}
