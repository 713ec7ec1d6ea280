package servers

import (
	"os/exec"
	"syscall"
)

// detach keeps the terminal's Ctrl-C from the supervisor, which must outlive this process by a moment.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
