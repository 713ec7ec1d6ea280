package servers

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// PostgresServer is a running PostgreSQL 15 with one superuser, whose password is asked for by SCRAM-SHA-256.
type PostgresServer struct {
	*Process
	Addr           string // 127.0.0.1:PORT
	User, Password string
}

// DSN is a connection URL for User.
func (s *PostgresServer) DSN(database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", s.User, s.Password, s.Addr, database)
}

// Postgres starts PostgreSQL 15.
func Postgres(t TB, opts ...Option) *PostgresServer {
	t.Helper()
	return obtain(t, "postgres", opts, (*Fleet).Postgres)
}

// Postgres is the package's Postgres for programs that are no tests.
func (f *Fleet) Postgres(ctx context.Context, opts ...Option) (*PostgresServer, error) {
	const bin = "/usr/lib/postgresql/15/bin"
	if _, err := os.Stat(filepath.Join(bin, "postgres")); err != nil {
		return nil, &Missing{What: "PostgreSQL 15"}
	}
	o := collect(opts)
	dir, err := f.folder("postgres")
	if err != nil {
		return nil, err
	}
	uid, gid, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	port, err := f.Port()
	if err != nil {
		return nil, err
	}
	s := &PostgresServer{Addr: local(port), User: "app", Password: "app-secret"}
	data, key := filepath.Join(dir, "data"), filepath.Join(dir, "password")
	if err := os.WriteFile(key, []byte(s.Password), 0o644); err != nil {
		return nil, err
	}
	err = f.tool(ctx, dir, uid, gid, filepath.Join(bin, "initdb"), "-D", data, "-U", s.User, "-A", "scram-sha-256",
		"--pwfile="+key, "-E", "UTF8", "--no-sync")
	if err != nil {
		return nil, err
	}
	argv := []string{
		filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-k", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300", "-c", "synchronous_commit=off",
	}
	s.Process = &Process{fleet: f, Name: filepath.Base(dir), Dir: dir, argv: append(argv, o.argv...), uid: uid, gid: gid, ready: s.ping}
	return s, s.launch(ctx)
}

func (s *PostgresServer) ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.Ping(ctx)
}

// unprivileged gives dir to the package's own account when this process is root, which PostgreSQL and PgBouncer refuse
// to run as. Zero ids mean that no change of account is needed.
func unprivileged(dir string) (uid, gid int, err error) {
	if os.Getuid() != 0 {
		return 0, 0, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, fmt.Errorf("looking for an account that is not root: %w", err)
	}
	uid, _ = strconv.Atoi(account.Uid)
	gid, _ = strconv.Atoi(account.Gid)
	return uid, gid, os.Chown(dir, uid, gid)
}
