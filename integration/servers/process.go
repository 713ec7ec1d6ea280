package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is one running server program. Its methods may be called from several goroutines at once.
type Process struct {
	Name string // for messages: mariadb-1
	Dir  string // its private folder, which also holds its log

	// set before the start, read-only afterwards
	fleet    *Fleet
	argv     []string
	env      []string
	uid, gid int                         // 0: as this process
	ready    func(context.Context) error // asks the server in its own protocol

	mu  sync.Mutex
	pid int
}

func (p *Process) logFile() string { return filepath.Join(p.Dir, "output.log") }

// PID is the process id of the latest start.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pid
}

func (p *Process) start() error {
	env := p.env
	if env == nil {
		// A server must not find configuration of the machine's owner.
		env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + p.Dir, "TMPDIR=" + p.Dir, "LC_ALL=C.UTF-8"}
	}
	r, err := p.fleet.ask(request{Op: "start", Argv: p.argv, Env: env, Dir: p.Dir, Log: p.logFile(), UID: p.uid, GID: p.gid})
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.pid = r.PID
	p.mu.Unlock()
	return nil
}

// launch starts the process and returns when it answers; what does not answer in time is killed.
func (p *Process) launch(ctx context.Context) error {
	if err := p.start(); err != nil {
		return err
	}
	if err := p.Await(ctx); err != nil {
		p.Kill()
		return err
	}
	return nil
}

// Await returns when the server answers a question in its own protocol, or with the reason why it will not.
func (p *Process) Await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	err := Poll(ctx, func(ctx context.Context) error {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		if status, exited := p.exited(0); exited {
			return &final{fmt.Errorf("%s: %s", p.Name, status)}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w\n%s", p.Name, err, p.LogTail())
	}
	return nil
}

// final ends a Poll at once.
type final struct{ error }

func (f *final) Unwrap() error { return f.error }

// Poll asks until the answer is nil or ctx is done; the error is then the last answer. Each question has two seconds.
func Poll(ctx context.Context, question func(context.Context) error) error {
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for {
		each, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := question(each)
		cancel()
		if err == nil {
			return nil
		}
		if f := (*final)(nil); errors.As(err, &f) {
			return f.error
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("%w (last answer: %w)", ctx.Err(), err)
		}
	}
}

func (p *Process) signal(sig syscall.Signal) error {
	r, err := p.fleet.ask(request{Op: "signal", PID: p.PID(), Signal: int(sig)})
	if err != nil {
		return fmt.Errorf("sending %v to %s: %w", sig, p.Name, err)
	}
	if r.Exited && sig != syscall.SIGKILL {
		return fmt.Errorf("sending %v to %s: it has ended", sig, p.Name)
	}
	return nil
}

// exited waits up to limit for the end of the process.
func (p *Process) exited(limit time.Duration) (status string, gone bool) {
	r, err := p.fleet.ask(request{Op: "wait", PID: p.PID(), Seconds: limit.Seconds()})
	if err != nil {
		return err.Error(), true
	}
	return r.Status, r.Exited
}

// wait returns how the process ended. It asks in short steps, for the supervisor serves one request at a time.
func (p *Process) wait(ctx context.Context) (string, error) {
	for ctx.Err() == nil {
		if status, gone := p.exited(20 * time.Millisecond); gone {
			return status, nil
		}
	}
	return "", ctx.Err()
}

// Alive reports whether the process runs (a stopped one does).
func (p *Process) Alive() bool {
	_, gone := p.exited(0)
	return !gone
}

// Kill ends the process and its children with SIGKILL, as a crash would, and returns when it is gone. Its folder stays.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := p.wait(ctx)
	return err
}

// Terminate asks the process to end with SIGTERM and returns how it ended, "exit code 0" for instance.
func (p *Process) Terminate(ctx context.Context) (string, error) {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return "", err
	}
	return p.wait(ctx)
}

// Signal sends a signal to the process and, SIGTERM apart, to its descendants.
func (p *Process) Signal(sig syscall.Signal) error { return p.signal(sig) }

// Stop freezes the process and its children with SIGSTOP: connections stay open and nothing answers.
func (p *Process) Stop() error { return p.signal(syscall.SIGSTOP) }

// Cont ends what Stop began.
func (p *Process) Cont() error { return p.signal(syscall.SIGCONT) }

// Restart kills the process if it runs, starts it again with the same port and folder, and returns when it answers.
func (p *Process) Restart() error {
	if err := p.Kill(); err != nil {
		return err
	}
	return p.launch(context.Background())
}

// LogTail is the end of what the process printed.
func (p *Process) LogTail() string {
	text, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	const limit = 4 << 10
	if len(text) > limit {
		text = text[len(text)-limit:]
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return strings.TrimRight(string(text), "\n")
}

// clockTick is the unit of the CPU times in /proc, 100 a second on every Linux Go runs on.
const clockTick = time.Second / 100

// CPU is the user and system time the process has used, its threads included, in steps of 10 ms.
func (p *Process) CPU() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("reading CPU time of %s: %w", p.Name, err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("reading CPU time of %s: short line %q", p.Name, text)
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * clockTick, nil
}

// RSS is the resident memory of the process in bytes.
func (p *Process) RSS() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("reading memory of %s: %w", p.Name, err)
	}
	var total, resident int64
	if _, err := fmt.Sscan(string(text), &total, &resident); err != nil {
		return 0, fmt.Errorf("reading memory of %s: %w", p.Name, err)
	}
	return resident * int64(os.Getpagesize()), nil
}
