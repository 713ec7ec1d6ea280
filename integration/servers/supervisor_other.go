//go:build !linux

package servers

import "os/exec"

// detach is never called: New refuses systems other than Linux.
func detach(*exec.Cmd) {}
