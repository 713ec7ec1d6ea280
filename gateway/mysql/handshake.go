package mysql

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/sidewire/sidewire/gateway/cluster"
	"github.com/sidewire/sidewire/gateway/socket"
	wire "github.com/sidewire/sidewire/protocols/mysql"
)

const (
	// clientCaps are offered to clients.
	clientCaps = wire.LongPassword | wire.FoundRows | wire.LongFlag | wire.ConnectWithDB | wire.NoSchema | wire.ODBC | wire.LocalFiles |
		wire.IgnoreSpace | wire.Protocol41 | wire.Interactive | wire.IgnoreSigpipe | wire.Transactions | wire.Reserved | wire.SecureConnection |
		wire.MultiStatements | wire.MultiResults | wire.PSMultiResults | wire.PluginAuth | wire.ConnectAttrs | wire.PluginAuthLenenc |
		wire.HandleExpired | wire.SessionTrack | wire.DeprecateEOF | wire.QueryAttributes |
		wire.Compress
	// handshakeTimeout bounds a client's way to its first command; handshakeLimit its packets.
	handshakeTimeout = 10 * time.Second
	handshakeLimit   = 64 << 10
)

// handshake greets the client, finds out who it is, and takes it to its first database. It reports whether the session
// goes on.
func (s *session) handshake() bool {
	m := s.handler
	s.terms = m.current.Load()
	s.conn.SetDeadline(time.Now().Add(handshakeTimeout))
	nonce, err := wire.NewNonce(rand.Reader)
	if err != nil {
		return false
	}
	s.nonce = nonce
	caps := clientCaps
	if s.terms.tls != nil {
		caps |= wire.SSL
	}
	if !s.terms.block.Compress {
		caps &^= wire.Compress
	}
	version := m.serverVersion(s.terms)
	if strings.Contains(version, "MariaDB") {
		caps &^= wire.QueryAttributes // its clients do not know the flag, and it has nowhere to keep them
	}
	auth := &wire.ServerAuth{
		Greeting: wire.Greeting{ServerVersion: version, ConnectionID: s.id, Nonce: nonce, Capabilities: caps,
			Collation: wire.CollationUTF8MB4, Status: wire.StatusAutocommit, Plugin: s.terms.plugin(version)},
		Host: s.host, Lookup: s.accounts, Secure: s.private(), NeedTLS: s.needsTLS(),
	}
	if err := s.send(0, wire.AppendGreeting(nil, &auth.Greeting)); err != nil {
		return false
	}
	seq, err := s.authenticate(auth)
	if err != nil {
		m.metrics.denied.Inc()
		m.host.Log().Debug("handshake refused", "listener", m.name, "client", s.conn.Client(), "error", err)
		var e *wire.Error
		if errors.As(err, &e) || errors.Is(err, wire.ErrMalformed) {
			s.reply(seq, clientFault(err))
		}
		return false
	}
	if !s.enter(&auth.Response, seq) {
		return false
	}
	s.conn.SetDeadline(time.Time{})
	s.drop()
	return true
}

// private reports whether nobody can listen to the client's connection: it is TLS or a unix socket.
func (s *session) private() bool {
	return s.conn.Socket() == nil || s.conn.LocalAddr().Network() == "unix"
}

// plugin is the authentication that the greeting names: a server's of that version. MariaDB's say 5.5.5 first, for which Connector/J does not
// follow caching_sha2_password.
func (t *terms) plugin(version string) string {
	switch {
	case t.block.AuthPlugin != "":
		return t.block.AuthPlugin
	case strings.Contains(version, "MariaDB"):
		return wire.PluginNative
	}
	return wire.PluginCachingSHA2
}

// needsTLS reports whether a client without TLS is refused: its password would pass in the open, or the certificate that it
// has to show has no other way to come.
func (s *session) needsTLS() bool {
	if s.terms.tls == nil {
		return false
	}
	return s.terms.tls.ClientAuth == tls.RequireAndVerifyClientCert || s.terms.block.RequireTLS && !s.private()
}

// accounts are the passwords a user may prove.
func (s *session) accounts(user string) []wire.Account {
	u := s.terms.users[user]
	if u == nil {
		return nil
	}
	a := []wire.Account{{Password: u.Password.Value()}}
	if !u.Old.IsZero() {
		a = append(a, wire.Account{Password: u.Old.Value()})
	}
	return a
}

// authenticate drives the server's half of the connection phase and returns the sequence number that comes next.
func (s *session) authenticate(auth *wire.ServerAuth) (seq byte, err error) {
	for {
		_, in, at, err := s.packet(handshakeLimit)
		if err != nil {
			return at + 1, fmt.Errorf("reading handshake response: %w", err)
		}
		out, next, err := auth.Step(nil, in)
		seq = at + 1
		if err != nil {
			return seq, err
		}
		if next == wire.NextTLS {
			if err := s.startTLS(); err != nil {
				return seq, err
			}
			if _, _, err := auth.Step(nil, nil); err != nil {
				return seq, err
			}
			continue
		}
		if len(out) > 0 {
			if err := s.send(seq, out); err != nil {
				return seq, fmt.Errorf("authenticating: %w", err)
			}
			seq++
		}
		if next == wire.NextDone {
			return seq, nil
		}
	}
}

// startTLS puts TLS on the client's connection. What was read already is the beginning of the client's handshake: it does
// not wait for an answer to its wish.
func (s *session) startTLS() error {
	early := &prefixed{Conn: s.conn.Raw(), before: append([]byte(nil), s.unread()...)}
	s.drop()
	over := tls.Server(early, s.terms.tls)
	if err := over.HandshakeContext(s.ctx); err != nil {
		return fmt.Errorf("doing TLS handshake: %w", err)
	}
	s.conn.Upgrade(over)
	s.stream.conn = socket.Wrap(over)
	return nil
}

// prefixed is a connection of which some bytes were read already.
type prefixed struct {
	net.Conn
	before []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.before) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.before)
	p.before = p.before[n:]
	return n, nil
}

// enter makes the session what its client asked for, its database included, and answers the handshake.
func (s *session) enter(r *wire.Response, seq byte) bool {
	s.caps = r.Capabilities & clientCaps // no more than the greeting offered
	s.collation = r.Collation
	s.become(r.User)
	s.mode = s.firstMode()
	db := r.Database
	if !r.Capabilities.Has(wire.ConnectWithDB) {
		db = ""
	}
	if err := s.openDatabase(db); err != nil {
		s.reply(seq, clientFault(err))
		return false
	}
	if s.ok(seq, wire.OK{}) != nil {
		return false
	}
	if s.caps.Has(wire.Compress) {
		s.pack()
	}
	return true
}

// become makes the session a user's.
func (s *session) become(user string) {
	s.as = s.terms.users[user].Backend
	s.mu.Lock()
	s.user = user
	s.mu.Unlock()
}

// openDatabase finds out whether a session's first database exists, by asking a server for it, as a server would when
// the client connected to it. The primary has the last word.
func (s *session) openDatabase(db string) error {
	s.database = ""
	if s.handler.virtual(s.terms, db) != nil {
		s.virtual, s.database = db, db
		return nil
	}
	if db != "" && s.terms.block.Cluster == "" {
		return fault(codeUnknownDatabase, stateSyntax, "Unknown database '%s'", db)
	}
	if db == "" {
		if c := s.handler.host.Cluster(s.terms.block.Cluster); c != nil {
			db = c.Config().Block.(*ClusterBlock).Database
		}
	}
	if db == "" {
		return nil
	}
	at := needs{role: cluster.Any, database: db}
	err := s.visit(at)
	var refused *wire.Error
	if errors.As(err, &refused) { // any server may be asked, and a replica may not have the database yet
		at.role = cluster.Primary
		err = s.visit(at)
	}
	if err == nil {
		s.database = db
	}
	return err
}

// visit brings a connection to a state, and leaves it.
func (s *session) visit(n needs) error {
	b, err := s.acquire(n)
	if err != nil {
		return err
	}
	err = s.apply(b, n)
	s.settle(b)
	return err
}
