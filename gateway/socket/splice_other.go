//go:build !linux

package socket

import "errors"

// CanSplice is false where the kernel has no splice.
func CanSplice(_, _ *Conn) bool { return false }

// Splice is not to be had here; CanSplice says so.
func Splice(_, _ *Conn, _ int64) (int64, error) { return 0, errors.ErrUnsupported }
