package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sidewire/sidewire/gateway/config"
)

// Bind binds an address, host:port or unix:/path. A socket file that nobody serves is replaced. When the port is taken,
// the error says by whom, as far as the system tells.
func Bind(address string, how config.UnixSocket) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		l, err := bindUnix(path, how)
		if err != nil {
			return nil, fmt.Errorf("binding %s: %w", address, err)
		}
		return l, nil
	}
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	err = fmt.Errorf("binding %s: %w", address, bare(err))
	if errors.Is(err, syscall.EADDRINUSE) {
		if who := holder(address); who != "" {
			err = fmt.Errorf("%w by %s", err, who)
		}
	}
	return nil, err
}

// BindBeside binds an address that overlaps those of others, which are about to be closed: 0.0.0.0:3306 beside
// 127.0.0.1:3306. So no client finds the port closed in between; one that the old socket had not accepted yet is reset. The
// caller calls done when they are closed, or when l is: the sockets share their port no longer than needed. (Linux lets this
// user's processes bind it beside l afterwards if they ask for SO_REUSEPORT, which sidewire does not.)
func BindBeside(address string, others []*Listener) (l net.Listener, done func(), err error) {
	done = func() {
		for _, o := range others {
			_ = shareSocket(o.socket, false) // of a closed one there is nothing to take back
		}
		if l != nil {
			_ = shareSocket(l, false)
		}
	}
	for _, o := range others {
		if err := shareSocket(o.socket, true); err != nil {
			done()
			return nil, nil, fmt.Errorf("binding %s beside %s: %w", address, o.address, err)
		}
	}
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return share(raw, true) }}
	if l, err = c.Listen(context.Background(), "tcp", address); err != nil {
		done()
		return nil, nil, fmt.Errorf("binding %s: %w", address, bare(err))
	}
	return l, done, nil
}

// Overlaps reports whether two addresses name the same TCP port, so that one may not be bound while the other is.
func Overlaps(a, b string) bool {
	if strings.HasPrefix(a, "unix:") || strings.HasPrefix(b, "unix:") {
		return false
	}
	_, one, err := net.SplitHostPort(a)
	_, other, fault := net.SplitHostPort(b)
	return err == nil && fault == nil && one == other && one != "0"
}

func bindUnix(path string, how config.UnixSocket) (net.Listener, error) {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, errors.New("another process serves this socket")
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, errors.New("the path exists and is not a socket")
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing a socket that nobody serves: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, bare(err)
	}
	if err := dress(path, how); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// dress gives a socket file its owner and permissions.
func dress(path string, how config.UnixSocket) error {
	if how.Owner != "" {
		uid, gid, err := owner(how.Owner)
		if err != nil {
			return err
		}
		if err := os.Chown(path, uid, gid); err != nil {
			return fmt.Errorf("giving the socket to %s: %w", how.Owner, err)
		}
	}
	if how.Mode != 0 {
		if err := os.Chmod(path, os.FileMode(how.Mode)); err != nil {
			return fmt.Errorf("setting the socket's permissions: %w", err)
		}
	}
	return nil
}

// owner resolves user:group; -1 leaves one of them as it is.
func owner(text string) (uid, gid int, err error) {
	uid, gid = -1, -1
	name, group, _ := strings.Cut(text, ":")
	if name != "" {
		if uid, err = strconv.Atoi(name); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return 0, 0, fmt.Errorf("finding owner of the socket: %w", err)
			}
			uid, _ = strconv.Atoi(u.Uid)
		}
	}
	if group != "" {
		if gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return 0, 0, fmt.Errorf("finding group of the socket: %w", err)
			}
			gid, _ = strconv.Atoi(g.Gid)
		}
	}
	return uid, gid, nil
}

// bare strips what net.OpError repeats: "listen tcp 127.0.0.1:3306: bind: ...".
func bare(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
