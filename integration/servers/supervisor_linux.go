package servers

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// init runs before any main or test does.
func init() {
	if os.Getenv(supervisorEnv) == "" {
		return
	}
	if err := supervise(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "servers: supervisor:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// children is what the supervisor knows of the processes it started. A reaping goroutine waits for any child, so that
// orphans of servers, which become the supervisor's children because it is a subreaper, are reaped too.
type children struct {
	mu      sync.Mutex
	running map[int]chan struct{} // closed when reaped
	status  map[int]string
	forked  *sync.Cond
}

// supervise serves requests until the other end of in is gone, then ends everything.
func supervise(in io.Reader, out io.Writer) error {
	// Children of children come to us when their parent dies, however they detached themselves.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("becoming a subreaper: %w", err)
	}
	root, lock, err := claimRoot()
	if err != nil {
		return err
	}
	defer lock.Close()
	c := &children{running: map[int]chan struct{}{}, status: map[int]string{}}
	c.forked = sync.NewCond(&c.mu)
	go c.reap()
	enc := json.NewEncoder(out)
	if err := enc.Encode(reply{Root: root}); err == nil {
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			var req request
			if err := json.Unmarshal(scanner.Bytes(), &req); err != nil {
				return err
			}
			if err := enc.Encode(c.serve(req)); err != nil {
				break
			}
		}
	}
	killDescendants(os.Getpid())
	return os.RemoveAll(root)
}

func (c *children) serve(req request) reply {
	switch req.Op {
	case "start":
		pid, err := c.start(req)
		if err != nil {
			return reply{Error: err.Error()}
		}
		return reply{PID: pid}
	case "signal":
		return c.signal(req.PID, syscall.Signal(req.Signal))
	case "wait":
		return c.wait(req.PID, time.Duration(req.Seconds*float64(time.Second)))
	}
	return reply{Error: "unknown request " + req.Op}
}

// start forks under mu, so that the reaper cannot see a child exit before it is registered. The parent-death signal
// is bound to the forking thread: this is the main goroutine inside init, which the runtime keeps on the main thread.
func (c *children) start(req request) (int, error) {
	log, err := os.OpenFile(req.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	attr := &syscall.ProcAttr{
		Dir: req.Dir, Env: req.Env, Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true},
	}
	if req.UID != 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(req.UID), Gid: uint32(req.GID)}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(req.Argv[0], req.Argv, attr)
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", req.Argv[0], err)
	}
	c.running[pid] = make(chan struct{})
	c.forked.Signal()
	return pid, nil
}

func (c *children) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		c.mu.Lock()
		switch {
		case errors.Is(err, syscall.ECHILD):
			for len(c.running) == 0 {
				c.forked.Wait()
			}
		case err == nil:
			if gone, ours := c.running[pid]; ours {
				c.status[pid] = describe(ws)
				delete(c.running, pid)
				close(gone)
			}
		}
		c.mu.Unlock()
	}
}

func describe(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "ended by signal " + ws.Signal().String()
	}
	return "exit code " + strconv.Itoa(ws.ExitStatus())
}

// signal reaches the process and all its descendants, for a store whose sessions are processes is stopped or killed
// only when they are. SIGTERM is the exception: it is a request, which the process itself passes on as it sees fit.
func (c *children) signal(pid int, sig syscall.Signal) reply {
	c.mu.Lock()
	_, running := c.running[pid]
	c.mu.Unlock()
	if !running {
		return reply{Exited: true}
	}
	if sig == syscall.SIGKILL {
		// Stopped first, so that it does not fork while its children are being listed.
		syscall.Kill(pid, syscall.SIGSTOP)
		family := descendants(pid)
		syscall.Kill(pid, sig)
		for _, child := range family {
			syscall.Kill(child, sig)
		}
		return reply{}
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return reply{Error: err.Error()}
	}
	if sig != syscall.SIGTERM {
		for _, child := range descendants(pid) {
			syscall.Kill(child, sig)
		}
	}
	return reply{}
}

func (c *children) wait(pid int, limit time.Duration) reply {
	c.mu.Lock()
	gone, running := c.running[pid]
	c.mu.Unlock()
	if running {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-gone:
		case <-timer.C:
			return reply{}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return reply{Exited: true, Status: c.status[pid]}
}

// descendants lists the living children of pid and theirs, parents first.
func descendants(pid int) []int {
	parents := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // gone since the listing
		}
		child, parent, state := parseStat(string(text))
		if state != "Z" {
			parents[parent] = append(parents[parent], child)
		}
	}
	list := slices.Clone(parents[pid])
	for i := 0; i < len(list); i++ {
		list = append(list, parents[list[i]]...)
	}
	return list
}

// parseStat reads /proc/PID/stat, whose second field, the name in brackets, may itself hold blanks and brackets.
func parseStat(text string) (pid, parent int, state string) {
	end := strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[end+1:])
	if end < 0 || len(fields) < 2 {
		return 0, 0, ""
	}
	pid, _ = strconv.Atoi(text[:strings.IndexByte(text, ' ')])
	parent, _ = strconv.Atoi(fields[1])
	return pid, parent, fields[0]
}

// killDescendants repeats until none is left: what is killed leaves its own children to us, and one more may have been
// forked meanwhile.
func killDescendants(pid int) {
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for {
		list := descendants(pid)
		if len(list) == 0 {
			return
		}
		for _, child := range list {
			syscall.Kill(child, syscall.SIGKILL)
		}
		<-pause.C
	}
}

// detach keeps the terminal's Ctrl-C from the supervisor, which must outlive the process that starts it by a moment.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

const rootPrefix = "sidewire-servers-"

// claimRoot makes the folder of this fleet and locks it for the supervisor's life, and removes the folders whose
// supervisors are dead. One lock over both keeps a folder that is not locked yet from being swept by a neighbour.
func claimRoot() (string, *os.File, error) {
	gate, err := lockFile(filepath.Join(os.TempDir(), rootPrefix+"gate"), true)
	if err != nil {
		return "", nil, fmt.Errorf("locking the gate: %w", err)
	}
	defer gate.Close()
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), rootPrefix+"*", "lock"))
	for _, name := range old {
		if f, err := lockFile(name, false); err == nil {
			os.RemoveAll(filepath.Dir(name))
			f.Close()
		}
	}
	root, err := os.MkdirTemp("", rootPrefix)
	if err != nil {
		return "", nil, err
	}
	// Servers that refuse to run as root have their folders in here too.
	if err := os.Chmod(root, 0o755); err != nil {
		return "", nil, err
	}
	lock, err := lockFile(filepath.Join(root, "lock"), false)
	return root, lock, err
}

func lockFile(name string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
