package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/dolthub/go-mysql-server/memory"
	"github.com/dolthub/go-mysql-server/server"
	"github.com/dolthub/go-mysql-server/sql"
	"github.com/sirupsen/logrus"

	sqle "github.com/dolthub/go-mysql-server"
)

// MySQL is one data source: a server with one database and one account of mysql_native_password.
type MySQL struct {
	Addr           string // 127.0.0.1:PORT
	Database       string
	User, Password string

	listener *tracked
	server   *server.Server
	engine   *sqle.Engine
	served   chan struct{}
}

// quiet turns the library's global log off, once for all servers of the process.
var quiet = sync.OnceFunc(func() { logrus.SetOutput(io.Discard) })

// StartMySQL starts a server with an empty database at an address; 127.0.0.1:0 is any free port.
func StartMySQL(addr, database, user, password string) (*MySQL, error) {
	quiet()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	db := memory.NewDatabase(database)
	db.BaseDatabase.EnablePrimaryKeyIndexes()
	provider := memory.NewDBProvider(db)
	m := &MySQL{
		Addr: l.Addr().String(), Database: database, User: user, Password: password,
		listener: &tracked{Listener: l, open: map[net.Conn]struct{}{}},
		engine:   sqle.NewDefault(provider),
		served:   make(chan struct{}),
	}
	accounts := m.engine.Analyzer.Catalog.MySQLDb
	editor := accounts.Editor()
	accounts.AddSuperUser(editor, user, "%", password)
	editor.Close()

	config := server.Config{Protocol: "tcp", Address: m.Addr, Listener: m.listener, Version: "8.0.33-embedded"}
	m.server, err = server.NewServer(config, m.engine, sql.NewContext, memory.NewSessionBuilder(provider), nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a MySQL data source: %w", err), l.Close(), m.engine.Close())
	}
	go func() {
		defer close(m.served)
		m.server.Start()
	}()
	return m, nil
}

// Close ends the server and its connections and returns when they are gone.
func (m *MySQL) Close() error {
	m.server.Close()
	m.listener.closeConns()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	select {
	case <-m.served:
	case <-ctx.Done():
		return errors.New("closing a MySQL data source: it still accepts")
	}
	// The engine reports the end of its own background work as an error.
	if err := m.engine.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("closing a MySQL data source: %w", err)
	}
	return nil
}

// tracked remembers its connections, for the library closes only its listener.
type tracked struct {
	net.Listener

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func (l *tracked) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: conn, of: l}
	l.mu.Lock()
	l.open[c] = struct{}{}
	l.mu.Unlock()
	return c, nil
}

func (l *tracked) closeConns() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		c.(*trackedConn).Conn.Close()
	}
}

type trackedConn struct {
	net.Conn
	of *tracked
}

func (c *trackedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
