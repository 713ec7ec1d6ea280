package listener

import (
	"errors"
	"net"
	"syscall"
)

// reusePort is SO_REUSEPORT, which package syscall leaves out.
const reusePort = 0xf

func share(raw syscall.RawConn, on bool) error {
	value, failed := 0, error(nil)
	if on {
		value = 1
	}
	if err := raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, reusePort, value)
	}); err != nil {
		return err
	}
	return failed
}

// shareSocket lets other sockets of this user be bound to addresses that overlap this one's, or ends that.
func shareSocket(l net.Listener, on bool) error {
	conn, ok := l.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return share(raw, on)
}
