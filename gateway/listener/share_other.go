//go:build !linux

package listener

import (
	"errors"
	"net"
	"syscall"
)

func share(syscall.RawConn, bool) error { return errors.ErrUnsupported }

func shareSocket(net.Listener, bool) error { return errors.ErrUnsupported }
