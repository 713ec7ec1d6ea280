package servers

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// MySQLServer is a running MariaDB or MySQL. User may do everything but write to a server that is read-only, as an
// application's account; Admin may do everything.
type MySQLServer struct {
	*Process
	Addr            string // 127.0.0.1:PORT
	Socket          string // its Unix socket
	User, Password  string
	Admin, AdminKey string // account and password
	Replicas        []*MySQLServer

	mariadb bool
	number  int // server_id
}

// DSN is a data source name of go-sql-driver/mysql for User.
func (s *MySQLServer) DSN(database string) string { return s.dsn(s.User, s.Password, database) }

// AdminDSN is the same for Admin.
func (s *MySQLServer) AdminDSN(database string) string { return s.dsn(s.Admin, s.AdminKey, database) }

func (s *MySQLServer) dsn(user, password, database string) string {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.DBName = "tcp", s.Addr, user, password, database
	c.AllowNativePasswords = true
	return c.FormatDSN()
}

// Kill ends the server and its replicas.
func (s *MySQLServer) Kill() error {
	for _, r := range s.Replicas {
		r.Kill()
	}
	return s.Process.Kill()
}

// MariaDB starts MariaDB 10.11, with binary log; Replicas follow it by GTID and are read-only.
func MariaDB(t TB, opts ...Option) *MySQLServer {
	t.Helper()
	return obtain(t, "mariadb", opts, (*Fleet).MariaDB)
}

// MySQL starts MySQL 9, whose accounts are caching_sha2_password; Replicas follow it by GTID and are read-only.
func MySQL(t TB, opts ...Option) *MySQLServer {
	t.Helper()
	return obtain(t, "mysql", opts, (*Fleet).MySQL)
}

// MariaDB is the package's MariaDB for programs that are no tests.
func (f *Fleet) MariaDB(ctx context.Context, opts ...Option) (*MySQLServer, error) {
	return f.mysqlGroup(ctx, collect(opts), f.mariadb)
}

// MySQL is the package's MySQL for programs that are no tests.
func (f *Fleet) MySQL(ctx context.Context, opts ...Option) (*MySQLServer, error) {
	return f.mysqlGroup(ctx, collect(opts), f.mysql)
}

// The accounts are made by an init file, which runs before the server takes connections and is harmless a second
// time; the binary log does not see it, for every member of a group runs it.
const mysqlAccounts = `SET sql_log_bin=0;
CREATE USER IF NOT EXISTS 'app'@'%%' IDENTIFIED BY 'app-secret';
GRANT ALL PRIVILEGES ON *.* TO 'app'@'%%';
REVOKE %s ON *.* FROM 'app'@'%%';
CREATE USER IF NOT EXISTS 'admin'@'%%' IDENTIFIED BY 'admin-secret';
GRANT ALL PRIVILEGES ON *.* TO 'admin'@'%%' WITH GRANT OPTION;
`

func (f *Fleet) mysqlGroup(ctx context.Context, o options, member func(context.Context, *MySQLServer, options) error) (*MySQLServer, error) {
	primary := &MySQLServer{number: 1}
	if err := member(ctx, primary, o); err != nil {
		return nil, err
	}
	for n := range o.replicas {
		replica := &MySQLServer{number: n + 2}
		if err := member(ctx, replica, o); err != nil {
			return nil, err
		}
		primary.Replicas = append(primary.Replicas, replica)
		if err := replica.follow(ctx, primary); err != nil {
			return nil, fmt.Errorf("replicating to %s: %w", replica.Name, err)
		}
	}
	return primary, nil
}

// launchMySQL fills in what both flavours have alike and starts the server.
func (f *Fleet) launchMySQL(ctx context.Context, s *MySQLServer, dir string, o options, argv []string, revoked string) error {
	port, err := f.Port()
	if err != nil {
		return err
	}
	s.Addr, s.Socket = local(port), filepath.Join(dir, "s")
	s.User, s.Password, s.Admin, s.AdminKey = "app", "app-secret", "admin", "admin-secret"
	accounts := filepath.Join(dir, "accounts.sql")
	if err := os.WriteFile(accounts, fmt.Appendf(nil, mysqlAccounts, revoked), 0o644); err != nil {
		return err
	}
	argv = append(argv,
		"--datadir="+filepath.Join(dir, "data"), "--socket="+s.Socket, "--bind-address=127.0.0.1",
		fmt.Sprintf("--port=%d", port), fmt.Sprintf("--server-id=%d", s.number), "--skip-name-resolve",
		"--init-file="+accounts, "--log-bin=binlog", "--local-infile=1", "--secure-file-priv=",
		"--max-connections=2000", "--innodb-buffer-pool-size=64M",
		// A killed server must keep what it acknowledged; only the machine's own crash is not guarded against.
		"--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0",
	)
	s.Process = &Process{fleet: f, Name: filepath.Base(dir), Dir: dir, argv: append(argv, o.argv...), ready: s.ping}
	return s.launch(ctx)
}

func (s *MySQLServer) ping(ctx context.Context) error {
	db, err := sql.Open("mysql", s.DSN(""))
	if err != nil {
		return err
	}
	defer db.Close()
	return db.QueryRowContext(ctx, "SELECT 1").Scan(new(int))
}

func (f *Fleet) mariadb(ctx context.Context, s *MySQLServer, o options) error {
	program, err := find("mariadbd", "MariaDB")
	if err != nil {
		return err
	}
	install, err := find("mariadb-install-db", "MariaDB")
	if err != nil {
		return err
	}
	dir, err := f.folder("mariadb")
	if err != nil {
		return err
	}
	s.mariadb = true
	err = f.tool(ctx, dir, 0, 0, install, "--no-defaults", "--user="+owner(), "--datadir="+filepath.Join(dir, "data"),
		"--auth-root-authentication-method=normal", "--skip-test-db")
	if err != nil {
		return err
	}
	argv := []string{program, "--no-defaults", "--user=" + owner(), "--gtid-strict-mode=1", "--log-slave-updates"}
	return f.launchMySQL(ctx, s, dir, o, argv, "SUPER, READ_ONLY ADMIN")
}

func mysqlRoot() string { return filepath.Join(cacheDir(), "mysql") }

// unpackedMySQL is how to run a program of the MySQL that scripts/servers.sh unpacked: with that folder's own loader and
// libraries, so that it needs no chroot and no root.
func unpackedMySQL(program string) ([]string, error) {
	root := mysqlRoot()
	path := filepath.Join(root, program)
	if _, err := os.Stat(path); err != nil {
		return nil, &Missing{What: "MySQL"}
	}
	loaders, _ := filepath.Glob(filepath.Join(root, "lib*/ld-linux-*.so.*"))
	libraries, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if len(loaders) == 0 || len(libraries) == 0 {
		return nil, fmt.Errorf("no loader or no libraries in %s", root)
	}
	return []string{loaders[0], "--library-path", strings.Join(libraries, ":"), path}, nil
}

// MySQLClient is the command line of MySQL's own client.
func MySQLClient(t TB) []string {
	t.Helper()
	argv, err := unpackedMySQL("usr/bin/mysql")
	if err != nil {
		giveUp(t, err)
	}
	return append(argv, "--no-defaults")
}

func (f *Fleet) mysql(ctx context.Context, s *MySQLServer, o options) error {
	base, err := unpackedMySQL("usr/sbin/mysqld")
	if err != nil {
		return err
	}
	dir, err := f.folder("mysql")
	if err != nil {
		return err
	}
	root := mysqlRoot()
	base = append(base, "--no-defaults", "--user="+owner(),
		"--basedir="+filepath.Join(root, "usr"), "--lc-messages-dir="+filepath.Join(root, "usr/share/mysql"),
		"--plugin-dir="+filepath.Join(root, "usr/lib/mysql/plugin"),
		"--character-sets-dir="+filepath.Join(root, "usr/share/mysql/charsets"))
	initialize := append(base[:len(base):len(base)], "--initialize-insecure", "--datadir="+filepath.Join(dir, "data"))
	if err := f.tool(ctx, dir, 0, 0, initialize...); err != nil {
		return err
	}
	argv := append(base[:len(base):len(base)], "--mysqlx=0", "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--session-track-gtids=OWN_GTID")
	return f.launchMySQL(ctx, s, dir, o, argv, "SUPER, CONNECTION_ADMIN")
}

// owner is the --user the servers insist on when they are started by root.
func owner() string {
	if os.Getuid() == 0 {
		return "root"
	}
	return os.Getenv("USER")
}

// follow makes s a read-only replica of primary and returns when both replication threads run.
func (s *MySQLServer) follow(ctx context.Context, primary *MySQLServer) error {
	host, port, _ := strings.Cut(primary.Addr, ":")
	start := []string{
		fmt.Sprintf(`CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%s, SOURCE_USER='%s', SOURCE_PASSWORD='%s',
			SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1`, host, port, primary.Admin, primary.AdminKey),
		"START REPLICA", "SET GLOBAL read_only=1",
	}
	status, columns := "SHOW REPLICA STATUS", [2]string{"Replica_IO_Running", "Replica_SQL_Running"}
	if s.mariadb {
		start = []string{
			fmt.Sprintf(`CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%s, MASTER_USER='%s', MASTER_PASSWORD='%s',
				MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1`, host, port, primary.Admin, primary.AdminKey),
			"START SLAVE", "SET GLOBAL read_only=1",
		}
		columns = [2]string{"Slave_IO_Running", "Slave_SQL_Running"}
		status = "SHOW SLAVE STATUS"
	}
	db, err := sql.Open("mysql", s.AdminDSN(""))
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range start {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return Poll(ctx, func(ctx context.Context) error {
		row, err := rowOf(ctx, db, status)
		if err != nil {
			return err
		}
		if row[columns[0]] != "Yes" || row[columns[1]] != "Yes" {
			return fmt.Errorf("replication threads: %s, %s; %s %s", row[columns[0]], row[columns[1]], row["Last_IO_Error"], row["Last_SQL_Error"])
		}
		return nil
	})
}

// rowOf returns the only row of a statement by column name.
func rowOf(ctx context.Context, db *sql.DB, statement string) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	if !rows.Next() {
		return nil, fmt.Errorf("%s: no row: %w", statement, rows.Err())
	}
	values, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	row := make(map[string]string, len(names))
	for i, name := range names {
		row[name] = values[i].String
	}
	return row, nil
}
